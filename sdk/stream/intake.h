// Between a source and the ring in: order, then the model's grid.
#pragma once

#include <cstdint>
#include <optional>
#include <span>

#include "formats/checkpoint.h"
#include "sdk/stream/order_window.h"
#include "sdk/stream/resampler.h"
#include "sdk/stream/sample.h"

namespace xst::stream {

struct IntakeConfig {
  uint32_t order_window = 0;  // samples that may overtake another one
  Resample resample = Resample::none;
  double rate_hz = 0;  // of the model; resampling needs one
  double max_s = 0.2;  // of the model's `gaps`: a longer gap is not bridged

  bool active() const { return order_window > 0 || resample != Resample::none; }
};

// One thread, but for the counts of order(); allocates nothing after construction.
//
// A time further back than anything that may still arrive late says that the source's clock was
// set: what waits is emitted, and order and grid start anew.
//
// An emitted sample's `position` is where the source goes on for everything behind that sample.
// After Restore() with the last emitted sample, the source gives from there, the same samples
// follow, bit for bit, as if nothing had happened in between (save around a single time that is far
// ahead of its place).
class Intake {
 public:
  using Emit = Resampler::Emit;

  Intake(const IntakeConfig& config, uint32_t width);

  // Whether a sample without a source time cannot be placed.
  bool needs_time() const { return resampler_.has_value(); }

  // `last`: the last emitted sample; `position`: its position.
  void Restore(const formats::ClockState& last, uint64_t position);

  // False: `emit` was stopped.
  bool Take(const SampleHead& head, std::span<const float> x, const Emit& emit);
  // Emits what waits for its predecessors. Not for a source that is stopped and will give it again.
  bool Flush(const Emit& emit);
  bool gives_again() const { return gives_again_; }

  const OrderWindow& order() const { return order_; }

 private:
  OrderWindow::Release Release(const Emit& emit);
  bool ClockSet(const SampleHead& head) const;

  const double back_s_;
  bool gives_again_ = false;  // the source has positions
  OrderWindow order_;
  std::optional<Resampler> resampler_;
  std::optional<double> resumed_t_;  // the last grid point; until a sample behind it is released
};

}  // namespace xst::stream
