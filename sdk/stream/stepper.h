// What a stream steps: a Session, which answers every sample, or a Forecaster, which answers every
// few.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "sdk/model.h"
#include "sdk/session.h"

namespace xst::stream {

class Batch;

// One thread at a time. Step, Reset and Save allocate nothing.
class Stepper {
 public:
  virtual ~Stepper() = default;

  // As the stream sees the model: widths and names of a sample and of an answer, rate_hz and
  // snapshot_bytes.
  virtual const ModelInfo& info() const = 0;

  // Takes a sample of info().input_width values, NaN = missing. `*answers` says whether `y`,
  // info().output_width values, has been written. Errors as Session::step.
  virtual Status Step(std::span<const float> x, std::span<float> y, bool* answers) noexcept = 0;
  virtual uint32_t quality() const noexcept = 0;  // bits of the last answer
  virtual void Reset() noexcept = 0;
  virtual Status Save(std::span<std::byte> out) const noexcept = 0;
  virtual void Load(std::span<const std::byte> snapshot, const LoadOptions& options) = 0;
  // Where it may step together with others (null: nowhere), and as which lane.
  virtual Batch* batch() const noexcept { return nullptr; }
  virtual uint32_t lane() const noexcept { return 0; }
};

inline constexpr uint64_t kMaxForecastValues = 4096;  // horizon x quantiles

// Throws Error (out of memory; a model of tokens; a forecast of more than kMaxForecastValues).
std::unique_ptr<Stepper> MakeStepper(std::shared_ptr<const Model> model);

}  // namespace xst::stream
