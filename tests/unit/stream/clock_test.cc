#include "sdk/stream/clock.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <optional>
#include <string>
#include <vector>

namespace xst::stream {
namespace {

using formats::GapPolicy;
using formats::GapThen;

SampleHead At(std::optional<double> t, std::optional<uint64_t> seq = {}) {
  SampleHead s;
  s.has_t = t.has_value();
  s.t = t.value_or(0);
  s.has_seq = seq.has_value();
  s.seq = seq.value_or(0);
  return s;
}

// Two samples under one configuration, and what the second must lead to.
struct Row {
  const char* name;
  ClockConfig config;
  SampleHead first, second;
  bool drop;
  uint64_t missing, hold;
  bool reset;
};

// 10 Hz and max_s 0.5: `hold` fills at most 5 periods.
const ClockConfig kHoldReset{10, GapPolicy::hold, 0.5, GapThen::reset};
const ClockConfig kHoldSkip{10, GapPolicy::hold, 0.5, GapThen::skip};
const ClockConfig kSkipReset{10, GapPolicy::skip, 0.5, GapThen::reset};
const ClockConfig kSkipSkip{10, GapPolicy::skip, 0.5, GapThen::skip};
const ClockConfig kEvents{0, GapPolicy::hold, 0.5, GapThen::reset};
constexpr uint64_t kHuge = uint64_t{1} << 53;

class ClockTable : public testing::TestWithParam<Row> {};

TEST_P(ClockTable, SecondSample) {
  const Row& row = GetParam();
  Clock clock(row.config);
  const ClockAction first = clock.Next(row.first);
  EXPECT_FALSE(first.drop);
  EXPECT_EQ(first.hold, 0u);
  EXPECT_FALSE(first.reset);
  const ClockAction action = clock.Next(row.second);
  EXPECT_EQ(action.drop, row.drop);
  EXPECT_EQ(action.missing, row.missing);
  EXPECT_EQ(action.hold, row.hold);
  EXPECT_EQ(action.reset, row.reset);
  if (row.config.rate_hz > 0) {
    EXPECT_DOUBLE_EQ(action.gap_s, static_cast<double>(row.missing) / row.config.rate_hz);
  }
}

INSTANTIATE_TEST_SUITE_P(
    Rules, ClockTable,
    testing::Values(
        Row{"next_by_seq", kHoldReset, At({}, 0), At({}, 1), false, 0, 0, false},
        Row{"next_by_time", kHoldReset, At(0), At(0.1), false, 0, 0, false},
        Row{"next_by_both", kHoldReset, At(0, 4), At(0.1, 5), false, 0, 0, false},
        Row{"same_seq", kHoldReset, At({}, 7), At({}, 7), true, 0, 0, false},
        Row{"lower_seq", kHoldReset, At({}, 7), At({}, 3), true, 0, 0, false},
        Row{"same_seq_later_time", kHoldReset, At(0, 7), At(9, 7), true, 0, 0, false},
        Row{"seq_of_events", kEvents, At({}, 7), At({}, 7), true, 0, 0, false},
        Row{"jitter_below_half_a_period", kHoldReset, At(0), At(0.149), false, 0, 0, false},
        Row{"one_missing_by_time", kHoldReset, At(0), At(0.2), false, 1, 1, false},
        Row{"one_missing_by_seq", kHoldReset, At({}, 0), At({}, 2), false, 1, 1, false},
        Row{"seq_says_more_than_time", kHoldReset, At(0, 0), At(0.1, 3), false, 2, 2, false},
        Row{"numbers_outweigh_times", kHoldReset, At(0, 0), At(0.4, 1), false, 0, 0, false},
        Row{"arrival_times_are_no_gap", kHoldReset, At({}), At({}), false, 0, 0, false},
        Row{"time_of_one_only", kHoldReset, At(0), At({}), false, 0, 0, false},
        Row{"hold_up_to_max", kHoldReset, At({}, 0), At({}, 6), false, 5, 5, false},
        Row{"beyond_max_reset", kHoldReset, At({}, 0), At({}, 7), false, 6, 5, true},
        Row{"beyond_max_skip", kHoldSkip, At({}, 0), At({}, 7), false, 6, 5, false},
        Row{"skip_steps_nothing", kSkipReset, At({}, 0), At({}, 6), false, 5, 0, false},
        Row{"skip_beyond_max_reset", kSkipReset, At({}, 0), At({}, 7), false, 6, 0, true},
        Row{"skip_beyond_max_skip", kSkipSkip, At({}, 0), At({}, 7), false, 6, 0, false},
        Row{"events_have_no_periods", kEvents, At(0, 0), At(100, 50), false, 0, 0, false},
        Row{"time_back", kHoldReset, At(5), At(1), false, 0, 0, false},
        Row{"same_time", kHoldReset, At(5), At(5), false, 0, 0, false},
        Row{"absurd_time", kHoldReset, At(0), At(1e300), false, kHuge, 5, true},
        Row{"last_seq", kHoldReset, At({}, 0), At({}, UINT64_MAX), false, UINT64_MAX - 1, 5, true}),
    [](const auto& row) { return std::string(row.param.name); });

TEST(Clock, MaxIsInWholePeriods) {
  // 0.2 s at 360 Hz is 72 periods, though the product is not exact.
  Clock clock({360, GapPolicy::hold, 0.2, GapThen::reset});
  clock.Next(At({}, 0));
  EXPECT_EQ(clock.Next(At({}, 73)).hold, 72u);
  const ClockAction beyond = clock.Next(At({}, 147));
  EXPECT_EQ(beyond.hold, 72u);
  EXPECT_TRUE(beyond.reset);
}

TEST(Clock, CountsWhatItSees) {
  Clock clock(kHoldReset);
  clock.Next(At(0, 0));
  clock.Next(At(0.1, 1));
  clock.Next(At(0.1, 1));  // duplicate
  clock.Next(At(0.4, 4));  // 2 missing
  clock.Next(At(0.3, 5));  // time back
  clock.Next(At(0.2, 2));  // duplicate: late
  EXPECT_EQ(clock.duplicates(), 2u);
  EXPECT_EQ(clock.gaps(), 1u);
  EXPECT_EQ(clock.missing(), 2u);
  EXPECT_EQ(clock.time_back(), 1u);
}

TEST(Clock, EventsCountLostNumbers) {
  Clock clock(kEvents);
  clock.Next(At({}, 0));
  clock.Next(At({}, 4));
  EXPECT_EQ(clock.missing(), 3u);
}

TEST(Clock, ASampleWithoutNumberKeepsTheLast) {
  Clock clock(kHoldReset);
  clock.Next(At({}, 5));
  EXPECT_FALSE(clock.Next(At({})).drop);
  EXPECT_TRUE(clock.Next(At({}, 5)).drop);
}

TEST(Clock, HeldTimesDivideTheGap) {
  Clock clock(kHoldReset);
  clock.Next(At(1.0));
  const ClockAction action = clock.Next(At(1.4));
  ASSERT_EQ(action.hold, 3u);
  EXPECT_NEAR(HeldTime(action, 1.4, 0), 1.1, 1e-12);
  EXPECT_NEAR(HeldTime(action, 1.4, 2), 1.3, 1e-12);
}

TEST(Clock, RestoredGoesOnAsIfNeverStopped) {
  Clock a(kHoldReset);
  a.Next(At(0, 0));
  a.Next(At(0.1, 1));
  Clock b(kHoldReset);
  b.Restore(a.state());
  EXPECT_TRUE(b.Next(At(0.1, 1)).drop);
  EXPECT_EQ(b.Next(At(0.3, 3)).missing, 1u);
}

}  // namespace
}  // namespace xst::stream
