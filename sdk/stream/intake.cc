#include "sdk/stream/intake.h"

#include <algorithm>

namespace xst::stream {
namespace {

// Longer than anything that may still arrive late: some windows of samples that a gap divides.
double BackSeconds(const IntakeConfig& config) {
  const double period = config.rate_hz > 0 ? 1 / config.rate_hz : 0;
  return std::max(10.0, 60 * (config.order_window + 1.0) * std::max(config.max_s, period));
}

}  // namespace

Intake::Intake(const IntakeConfig& config, uint32_t width)
    : back_s_(BackSeconds(config)),
      order_(config.order_window, config.resample != Resample::none, width) {
  if (config.resample != Resample::none) {
    resampler_.emplace(config.resample, config.rate_hz, config.max_s, width);
  }
}

void Intake::Restore(const formats::ClockState& last, uint64_t position) {
  if (!last.started) return;
  if (!resampler_) {
    SampleHead head;
    head.has_seq = last.has_seq;
    head.seq = last.seq;
    head.has_t = last.has_t;
    head.t = last.t;
    order_.Restore(position, head);
    return;
  }
  order_.Restore(position);
  resampler_->Restore(last.t);
  resumed_t_ = last.t;
}

OrderWindow::Release Intake::Release(const Emit& emit) {
  return [this, &emit](const SampleHead& head, std::span<const float> x, uint64_t before) {
    if (!resampler_) return emit(head, x);
    resumed_t_.reset();
    return resampler_->Take(head, x, before, emit);
  };
}

bool Intake::ClockSet(const SampleHead& head) const {
  if (!order_.ByTime(head)) return false;
  const auto last = resampler_ ? resampler_->last_t() : order_.last_t();
  return last && head.t < *last - back_s_;
}

bool Intake::Take(const SampleHead& head, std::span<const float> x, const Emit& emit) {
  const auto release = Release(emit);
  gives_again_ |= head.position > 0;
  if (ClockSet(head)) {
    if (!order_.StartAnew(release)) return false;
    if (resampler_) resampler_->StartAnew();
    resumed_t_.reset();
  }
  if (resumed_t_ && head.t <= *resumed_t_) {
    const bool used = resampler_->Prime(head, x, order_.position());
    return order_.Skip(head, !used, release);
  }
  return order_.Take(head, x, release);
}

bool Intake::Flush(const Emit& emit) { return order_.Flush(Release(emit)); }

}  // namespace xst::stream
