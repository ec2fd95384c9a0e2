#include "sdk/forecast.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <new>

#include "formats/snapshot.h"
#include "sdk/model_core.h"

namespace xst {
namespace {

constexpr float kMissing = std::numeric_limits<float>::quiet_NaN();

std::shared_ptr<const Model> Tirex(std::shared_ptr<const Model> model) {
  if (model->info().config.family == formats::Family::tirex) return model;
  throw Error(Status::invalid_argument, "model: expected one of family tirex, got another");
}

formats::SnapshotHeader Header(const Model& model, uint64_t samples) {
  const formats::Directory& d = model.core().directory;
  return {d.arch_hash, d.source_hash, samples, d.config.tirex.context};
}

}  // namespace

Forecaster::Forecaster(std::shared_ptr<const Model> model)
    : config_(Tirex(model)->info().config.tirex), session_(std::move(model)) {
  try {
    ring_.assign(config_.context, kMissing);
    window_.resize(config_.context);
    token_.resize(2 * size_t{config_.patch});
    answer_.resize(quantiles() * config_.patch);
  } catch (const std::bad_alloc&) {
    throw Error(Status::out_of_memory, "forecaster: expected memory for its context, got none");
  }
}

Status Forecaster::forecast(std::span<const float> series, uint32_t horizon, uint32_t rollout,
                            std::span<float> out) noexcept {
  const size_t kept = std::min(series.size(), window_.size());
  const auto begin = std::fill_n(window_.begin(), window_.size() - kept, kMissing);
  std::copy(series.end() - static_cast<ptrdiff_t>(kept), series.end(), begin);
  return ForecastWindow(horizon, rollout, out);
}

void Forecaster::push(float sample) noexcept {
  ring_[samples_++ % ring_.size()] = IsUsable(sample) ? sample : kMissing;
}

bool Forecaster::due() const noexcept {
  return samples_ > 0 && samples_ % config_.forecast.every == 0;
}

Status Forecaster::forecast(std::span<float> out) noexcept {
  const auto oldest = ring_.begin() + static_cast<ptrdiff_t>(samples_ % ring_.size());
  std::rotate_copy(ring_.begin(), oldest, ring_.end(), window_.begin());
  return ForecastWindow(config_.forecast.horizon, config_.forecast.rollout, out);
}

void Forecaster::reset() noexcept {
  std::fill(ring_.begin(), ring_.end(), kMissing);
  samples_ = 0;
}

// Mean and deviation of the samples that are there.
Forecaster::Scale Forecaster::Standardise() const noexcept {
  double sum = 0, squares = 0;
  size_t count = 0;
  for (const float x : window_) {
    if (!IsUsable(x)) continue;
    sum += double{x};
    ++count;
  }
  if (count == 0) return {0, 1};
  const double loc = sum / static_cast<double>(count);
  for (const float x : window_) {
    if (IsUsable(x)) squares += (double{x} - loc) * (double{x} - loc);
  }
  const double scale = std::sqrt(squares / static_cast<double>(count));
  return {loc, scale == 0 ? std::abs(loc) + 1e-5 : scale};
}

// Patch `index` of the window; behind it all is missing.
void Forecaster::FillToken(size_t index, const Scale& s) noexcept {
  std::fill(token_.begin(), token_.end(), 0.0f);
  const size_t patch = config_.patch, begin = index * patch;
  if (begin == window_.size()) return;
  for (size_t i = 0; i < patch; ++i) {
    const float x = window_[begin + i];
    if (!IsUsable(x)) continue;
    token_[i] = static_cast<float>((double{x} - s.loc) / s.scale);
    token_[patch + i] = 1;
  }
}

Status Forecaster::ForecastWindow(size_t horizon, size_t rollout, std::span<float> out) noexcept {
  if (horizon == 0 || rollout == 0) return Status::invalid_argument;
  if (out.size() != horizon * quantiles()) return Status::shape_mismatch;
  const size_t patch = config_.patch, context = window_.size() / patch;
  for (size_t begin = 0; begin < horizon;) {  // of a pass
    const size_t patches = std::min((horizon - begin + patch - 1) / patch, rollout);
    const Scale s = Standardise();
    session_.reset();
    for (size_t t = 0; t < context + patches - 1; ++t) {
      FillToken(std::min(t, context), s);
      const Status status = session_.step(token_, answer_);
      if (status != Status::ok) return status;
      if (t + 1 < context) continue;
      for (size_t i = 0; i < patch && begin < horizon; ++i, ++begin) {
        for (size_t q = 0; q < quantiles(); ++q) {
          out[begin * quantiles() + q] =
              static_cast<float>(double{answer_[q * patch + i]} * s.scale + s.loc);
        }
      }
    }
    const size_t gone = std::min(patches * patch, window_.size());
    std::fill(std::shift_left(window_.begin(), window_.end(), static_cast<ptrdiff_t>(gone)),
              window_.end(), kMissing);
  }
  return Status::ok;
}

uint64_t Forecaster::snapshot_bytes() const { return formats::SnapshotBytes(ring_.size()); }

std::vector<std::byte> Forecaster::save() const {
  std::vector<std::byte> bytes(snapshot_bytes());
  save(bytes);
  return bytes;
}

Status Forecaster::save(std::span<std::byte> out) const noexcept {
  if (out.size() != snapshot_bytes()) return Status::shape_mismatch;
  std::byte* to = formats::SnapshotValues(out).data();
  const size_t oldest = samples_ % ring_.size(), newer = ring_.size() - oldest;
  std::memcpy(to, ring_.data() + oldest, newer * sizeof(float));
  std::memcpy(to + newer * sizeof(float), ring_.data(), oldest * sizeof(float));
  formats::SealSnapshot(Header(*session_.model(), samples_), out);
  return Status::ok;
}

Status Forecaster::load(std::span<const std::byte> snapshot, const LoadOptions& options,
                        Fault* fault) noexcept {
  formats::SnapshotHeader header;
  std::span<const std::byte> values;
  Status status = formats::ReadSnapshot(snapshot, &header, &values, fault);
  if (status != Status::ok) return status;
  status = formats::CheckOrigin(header, Header(*session_.model(), 0), options.allow_other_weights,
                                fault);
  if (status != Status::ok) return status;
  // Into the window first, so that a bad one changes nothing.
  std::memcpy(window_.data(), values.data(), values.size());
  for (size_t i = 0; i < window_.size(); ++i) {
    if (!IsUsable(window_[i]) && !std::isnan(window_[i])) {
      return fault->Set(Status::corrupt,
                        "snapshot: expected samples up to 1e30, got %g at index %zu",
                        double{window_[i]}, i);
    }
  }
  samples_ = header.steps;
  const auto newer = static_cast<ptrdiff_t>(ring_.size() - samples_ % ring_.size());
  std::rotate_copy(window_.begin(), window_.begin() + newer, window_.end(), ring_.begin());
  return Status::ok;
}

void Forecaster::load(std::span<const std::byte> snapshot, const LoadOptions& options) {
  Fault fault;
  if (load(snapshot, options, &fault) != Status::ok) throw Error(fault);
}

}  // namespace xst
