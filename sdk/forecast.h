// Quantile forecasts of a TiRex model (specification tirex.md): of a series, or of a live stream's
// last samples.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "formats/status.h"
#include "sdk/model.h"
#include "sdk/session.h"

namespace xst {

// One stream: move-only, one thread at a time. A sample that is not IsUsable() (NaN, infinite or
// beyond 1e30) is missing. After
// creation nothing is allocated (but on `reference`).
class Forecaster {
 public:
  // Throws Error{invalid_argument} for a model of another family, Error{out_of_memory}.
  explicit Forecaster(std::shared_ptr<const Model> model);

  const formats::TirexConfig& config() const { return config_; }
  size_t quantiles() const { return config_.quantiles.size(); }

  // Quantiles of the `horizon` samples behind `series`, out [horizon][quantiles]. Up to `rollout`
  // patches come from one pass over the context; the next pass starts behind them, with the samples
  // in between missing. Errors: invalid_argument (a horizon or rollout of 0), shape_mismatch.
  Status forecast(std::span<const float> series, uint32_t horizon, uint32_t rollout,
                  std::span<float> out) noexcept;

  // A live stream: the last config().context samples are kept.
  void push(float sample) noexcept;
  // Whether the last sample was the last of config().forecast.every.
  bool due() const noexcept;
  // Of the samples pushed, with the packed horizon and rollout.
  Status forecast(std::span<float> out) noexcept;
  uint64_t samples() const noexcept { return samples_; }  // pushed since the last reset
  void reset() noexcept;

  // The samples kept, as snapshot bytes that are the same on every device, and back; as a Session's
  // save() and load().
  uint64_t snapshot_bytes() const;
  std::vector<std::byte> save() const;
  Status save(std::span<std::byte> out) const noexcept;
  Status load(std::span<const std::byte> snapshot, const LoadOptions& options,
              Fault* fault) noexcept;
  void load(std::span<const std::byte> snapshot, const LoadOptions& options = {});  // throws Error

 private:
  struct Scale {
    double loc, scale;
  };

  Scale Standardise() const noexcept;
  void FillToken(size_t index, const Scale& s) noexcept;
  Status ForecastWindow(size_t horizon, size_t rollout, std::span<float> out) noexcept;

  formats::TirexConfig config_;
  Session session_;
  uint64_t samples_ = 0;
  std::vector<float> ring_;    // [context], NaN where missing; samples_ % context is the oldest
  std::vector<float> window_;  // [context], what is forecast from, oldest first
  std::vector<float> token_;   // [z | mask] of a patch
  std::vector<float> answer_;  // [quantiles][patch] of the patch behind it
};

}  // namespace xst
