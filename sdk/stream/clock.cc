#include "sdk/stream/clock.h"

#include <algorithm>
#include <cmath>

namespace xst::stream {
namespace {

// Counts beyond this are not exact as double and mean nothing any more.
constexpr double kMostPeriods = 9007199254740992.0;  // 2^53

uint64_t ToCount(double periods) {
  return periods > 0 ? static_cast<uint64_t>(std::min(periods, kMostPeriods)) : 0;
}

}  // namespace

Clock::Clock(const ClockConfig& config) { Configure(config); }

// The small excess keeps 0.2 s at 360 Hz at 72 periods whatever the product rounds to.
void Clock::Configure(const ClockConfig& config) {
  config_ = config;
  limit_ = ToCount(std::floor(config.max_s * config.rate_hz + 1e-6));
}

ClockAction Clock::Next(const SampleHead& sample) noexcept {
  ClockAction action;
  const bool by_seq = state_.started && state_.has_seq && sample.has_seq;
  if (by_seq && sample.seq <= state_.seq) {
    ++duplicates_;
    action.drop = true;
    return action;
  }
  uint64_t missing = by_seq ? sample.seq - state_.seq - 1 : 0;
  if (state_.started && state_.has_t && sample.has_t) {
    const double passed = sample.t - state_.t;
    if (passed < 0) ++time_back_;
    if (config_.rate_hz > 0 && !by_seq) {
      missing = std::max(missing, ToCount(std::round(passed * config_.rate_hz) - 1));
    }
  }
  if (missing > 0) {
    ++gaps_;
    missing_ += missing;
  }
  if (missing > 0 && config_.rate_hz > 0) {
    action.missing = missing;
    action.gap_s = static_cast<double>(missing) / config_.rate_hz;
    action.hold = config_.policy == formats::GapPolicy::hold ? std::min(missing, limit_) : 0;
    action.reset = missing > limit_ && config_.then == formats::GapThen::reset;
    action.from_t = state_.t;
  }
  state_ = {true, sample.has_t, sample.has_seq || state_.has_seq, sample.t,
            sample.has_seq ? sample.seq : state_.seq};
  return action;
}

double HeldTime(const ClockAction& action, double t, uint64_t k) noexcept {
  return action.from_t + (t - action.from_t) * (static_cast<double>(k) + 1) /
                             (static_cast<double>(action.missing) + 1);
}

}  // namespace xst::stream
