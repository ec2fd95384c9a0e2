// Order and completeness of one stream: duplicates, gaps, and what the session does about them.
#pragma once

#include <cstdint>

#include "formats/checkpoint.h"
#include "formats/config.h"
#include "sdk/stream/sample.h"

namespace xst::stream {

// `gaps` of the model's `stream:` section (specification stream.md section 1).
struct ClockConfig {
  double rate_hz = 0;  // 0: event stream, no periods, so no gap is ever filled
  formats::GapPolicy policy = formats::GapPolicy::hold;
  double max_s = 0.2;
  formats::GapThen then = formats::GapThen::reset;
};

using formats::ClockState;

// What to do with a sample, in this order.
struct ClockAction {
  bool drop = false;     // a duplicate or out of order: nothing else happens
  uint64_t hold = 0;     // steps with every input missing, before the sample
  uint64_t missing = 0;  // periods without a sample before this one
  double gap_s = 0;      // missing / rate_hz
  bool reset = false;    // after the held steps: start from a fresh state
  double from_t = 0;     // time of the sample before the gap
};

// Not thread-safe; no allocation.
//
// Order is by sequence number where the source gives one: a number that is not above the last is
// dropped, for a recurrent state must never step twice. Without numbers the order of arrival
// counts, and a time that steps back is counted and accepted (a source whose clock was set). Gaps
// show in the numbers or, without them and at rate_hz > 0, in the source's times; arrival times are
// no evidence.
class Clock {
 public:
  explicit Clock(const ClockConfig& config);

  ClockAction Next(const SampleHead& sample) noexcept;

  const ClockState& state() const { return state_; }
  void Restore(const ClockState& state) { state_ = state; }
  void Configure(const ClockConfig& config);  // state and counts stay

  uint64_t duplicates() const { return duplicates_; }  // dropped: seq not above the last
  uint64_t gaps() const { return gaps_; }
  uint64_t missing() const { return missing_; }      // samples absent in all gaps
  uint64_t time_back() const { return time_back_; }  // times below the one before

 private:
  ClockConfig config_;
  uint64_t limit_ = 0;  // periods that `hold` fills at most
  ClockState state_;
  uint64_t duplicates_ = 0, gaps_ = 0, missing_ = 0, time_back_ = 0;
};

// The time of held step k (0, 1, …) of an action that leads to a sample at `t`.
double HeldTime(const ClockAction& action, double t, uint64_t k) noexcept;

}  // namespace xst::stream
