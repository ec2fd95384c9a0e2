// Order and resampling against plain oracles, and every restart in the middle of either.
#include "sdk/stream/intake.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <string>
#include <vector>

namespace xst::stream {
namespace {

const float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr double kRate = 100;

uint32_t Below(uint32_t n, std::mt19937* random) { return static_cast<uint32_t>((*random)() % n); }

struct Sample {
  double t = 0;
  uint64_t seq = 0;
  bool has_t = true, has_seq = false;
  float x = 0;
};

struct Got {
  SampleHead head;
  float x = 0;
};

bool Same(const Got& a, const Got& b) {
  return a.head.t == b.head.t && a.head.has_seq == b.head.has_seq && a.head.seq == b.head.seq &&
         std::memcmp(&a.x, &b.x, sizeof(float)) == 0;
}

// Feeds samples from `position` on, as a source with positions does; stops after `most` emitted.
std::vector<Got> Feed(Intake& intake, const std::vector<Sample>& samples, uint64_t position,
                      size_t most = SIZE_MAX) {
  std::vector<Got> got;
  const Intake::Emit emit = [&](const SampleHead& head, std::span<const float> x) {
    if (got.size() < most) got.push_back({head, x[0]});
    return got.size() < most;
  };
  for (uint64_t i = position; i < samples.size(); ++i) {
    SampleHead head;
    head.t = samples[i].t;
    head.has_t = samples[i].has_t;
    head.seq = samples[i].seq;
    head.has_seq = samples[i].has_seq;
    head.position = i + 1;
    if (!intake.Take(head, std::span(&samples[i].x, 1), emit)) return got;
  }
  intake.Flush(emit);
  return got;
}

std::vector<Got> Feed(const IntakeConfig& config, const std::vector<Sample>& samples) {
  Intake intake(config, 1);
  return Feed(intake, samples, 0);
}

enum class Numbers { seq, time };

std::vector<Sample> Numbered(size_t count, Numbers numbers) {
  std::vector<Sample> samples(count);
  for (size_t i = 0; i < count; ++i) {
    samples[i].seq = i + 7;
    samples[i].has_seq = numbers == Numbers::seq;
    samples[i].has_t = numbers == Numbers::time;
    samples[i].t = static_cast<double>(i) / kRate;
    samples[i].x = static_cast<float>(i);
  }
  return samples;
}

// Every sample is overtaken by at most `most` others.
void Shuffle(std::vector<Sample>* samples, size_t most, std::mt19937* random) {
  std::vector<std::pair<double, size_t>> keys(samples->size());
  std::uniform_real_distribution<double> delay(0, static_cast<double>(most) + 1);
  for (size_t i = 0; i < keys.size(); ++i) keys[i] = {static_cast<double>(i) + delay(*random), i};
  std::stable_sort(keys.begin(), keys.end());
  std::vector<Sample> shuffled;
  for (const auto& [key, i] : keys) shuffled.push_back((*samples)[i]);
  *samples = shuffled;
}

class IntakeOrder : public testing::TestWithParam<Numbers> {};

TEST_P(IntakeOrder, InsideTheWindowEverySampleComesOnceInOrder) {
  std::mt19937 random(11);
  for (int round = 0; round < 200; ++round) {
    const uint32_t window = 1 + Below(16, &random);
    const auto sorted = Numbered(100, GetParam());
    auto samples = sorted;
    Shuffle(&samples, window, &random);
    Intake intake({window, Resample::none, 0, 0.2}, 1);
    const auto got = Feed(intake, samples, 0);
    ASSERT_EQ(got.size(), sorted.size()) << round;
    for (size_t i = 0; i < got.size(); ++i) ASSERT_EQ(got[i].x, sorted[i].x) << round;
    EXPECT_GT(intake.order().reordered(), 0u);
    EXPECT_EQ(intake.order().too_late() + intake.order().duplicates(), 0u);
  }
}

TEST_P(IntakeOrder, OutsideTheWindowTheOrderHoldsAndEverythingIsCounted) {
  std::mt19937 random(12);
  for (int round = 0; round < 200; ++round) {
    const uint32_t window = 1 + Below(4, &random);
    auto samples = Numbered(200, GetParam());
    for (int i = 0; i < 10; ++i) samples.push_back(samples[random() % 200]);
    Shuffle(&samples, 12, &random);
    Intake intake({window, Resample::none, 0, 0.2}, 1);
    const auto got = Feed(intake, samples, 0);
    for (size_t i = 1; i < got.size(); ++i) ASSERT_GT(got[i].x, got[i - 1].x) << round;
    const OrderWindow& order = intake.order();
    ASSERT_EQ(got.size() + order.too_late() + order.duplicates(), samples.size());
    EXPECT_GT(order.too_late(), 0u);
  }
}

TEST_P(IntakeOrder, DuplicatesAreDroppedAndCounted) {
  auto samples = Numbered(20, GetParam());
  samples.insert(samples.begin() + 5, samples[4]);    // what was released
  samples.insert(samples.begin() + 12, samples[11]);  // what may still wait
  Intake intake({4, Resample::none, 0, 0.2}, 1);
  EXPECT_EQ(Feed(intake, samples, 0).size(), 20u);
  EXPECT_EQ(intake.order().duplicates(), 2u);
  EXPECT_EQ(intake.order().too_late(), 0u);
}

INSTANTIATE_TEST_SUITE_P(By, IntakeOrder, testing::Values(Numbers::seq, Numbers::time),
                         [](const auto& param) {
                           return param.param == Numbers::seq ? "seq" : "time";
                         });

TEST(Intake, NumberedSamplesInOrderDoNotWait) {
  Intake intake({8, Resample::none, 0, 0.2}, 1);
  size_t emitted = 0;
  const auto emit = [&](const SampleHead&, std::span<const float>) { return ++emitted > 0; };
  const auto samples = Numbered(40, Numbers::seq);
  for (size_t i = 0; i < samples.size(); ++i) {
    SampleHead head;
    head.has_seq = true;
    head.seq = samples[i].seq;
    intake.Take(head, std::span(&samples[i].x, 1), emit);
    // The first waits: nothing says that it is the first.
    EXPECT_EQ(emitted, i >= 8 ? i + 1 : 0);
  }
}

TEST(Intake, AClockThatIsSetBackStartsAnew) {
  auto samples = Numbered(60, Numbers::time);
  for (size_t i = 30; i < 60; ++i) samples[i].t -= 1000;
  for (const Resample resample : {Resample::none, Resample::linear}) {
    EXPECT_EQ(Feed({4, resample, kRate, 0.2}, samples).size(), 60u);
  }
}

TEST(Intake, AGlitchDoesNotStopTheStream) {
  auto samples = Numbered(200, Numbers::time);
  samples[50].t = 1e6;
  const auto got = Feed({4, Resample::none, kRate, 0.2}, samples);
  EXPECT_EQ(got.size(), 200u);  // the glitch, late as it was let go, and all others
}

TEST(Intake, SamplesWithoutNumberOrTimePass) {
  auto samples = Numbered(10, Numbers::time);
  for (auto& s : samples) s.has_t = false;
  EXPECT_EQ(Feed({4, Resample::none, 0, 0.2}, samples).size(), 10u);
}

// --- resampling

// The grid by brute force: for each k the neighbours among the sorted samples.
std::vector<Got> Oracle(const IntakeConfig& config, std::vector<Sample> samples) {
  std::sort(samples.begin(), samples.end(),
            [](const Sample& a, const Sample& b) { return a.t < b.t; });
  std::vector<Got> grid;
  const auto first = static_cast<int64_t>(std::floor(samples.front().t * config.rate_hz)) - 1;
  const auto last = static_cast<int64_t>(std::ceil(samples.back().t * config.rate_hz)) + 1;
  const double periods = std::floor(config.max_s * config.rate_hz + 1e-6);
  for (int64_t k = first; k <= last; ++k) {
    const double t = static_cast<double>(k) / config.rate_hz;
    const auto right = std::lower_bound(samples.begin(), samples.end(), t,
                                        [](const Sample& s, double at) { return s.t < at; });
    if (right == samples.end()) break;
    Got got;
    got.head.t = t;
    if (right->t == t) {
      got.x = right->x;
    } else {
      if (right == samples.begin()) continue;
      const auto left = right - 1;
      if (std::round((right->t - left->t) * config.rate_hz) - 1 > periods) continue;
      const double a = left->x, b = right->x;
      got.x = config.resample == Resample::hold
                  ? left->x
                  : static_cast<float>(a + (b - a) * ((t - left->t) / (right->t - left->t)));
    }
    grid.push_back(got);
  }
  return grid;
}

// A source of about `rate` that jitters, loses samples, has gaps and missing values.
std::vector<Sample> Irregular(size_t count, double rate, double t, std::mt19937* random) {
  std::uniform_real_distribution<double> u(0, 1);
  std::vector<Sample> samples;
  for (size_t i = 0; i < count; ++i) {
    t += (0.6 + 0.8 * u(*random)) / rate;
    if (u(*random) < 0.01) t += 0.5;
    if (u(*random) < 0.05) continue;
    if (u(*random) < 0.1) t = std::round(t * kRate) / kRate + 1 / kRate;  // on the grid
    Sample s;
    s.t = t;
    s.x = u(*random) < 0.03 ? kNan : std::sin(static_cast<float>(i));
    samples.push_back(s);
  }
  return samples;
}

TEST(IntakeGrid, EqualsTheOracle) {
  std::mt19937 random(21);
  for (int round = 0; round < 200; ++round) {
    const Resample resample = round % 2 == 0 ? Resample::hold : Resample::linear;
    const double rate = std::vector<double>{13, 50, 100, 250, 1000}[random() % 5];
    const double t = std::vector<double>{-5, 0, 1.7e9}[random() % 3];
    const IntakeConfig config{Below(3, &random) * 2, resample, kRate, 0.2};
    auto samples = Irregular(300, rate, t, &random);
    const auto want = Oracle(config, samples);
    if (config.order_window > 0) Shuffle(&samples, config.order_window, &random);
    const auto got = Feed(config, samples);
    ASSERT_EQ(got.size(), want.size()) << round;
    for (size_t i = 0; i < got.size(); ++i) {
      ASSERT_TRUE(Same(got[i], want[i])) << round << " at " << i << ": " << got[i].x;
    }
  }
}

TEST(IntakeGrid, ALineStaysALine) {
  std::vector<Sample> samples(100);
  for (size_t i = 0; i < samples.size(); ++i) {
    samples[i].t = 0.004 + 0.0137 * static_cast<double>(i);
    samples[i].x = static_cast<float>(2 * samples[i].t + 1);
  }
  const auto got = Feed({0, Resample::linear, kRate, 0.2}, samples);
  ASSERT_EQ(got.size(), 136u);  // 0.01 to 1.36
  for (size_t i = 0; i < got.size(); ++i) {
    EXPECT_EQ(got[i].head.t, static_cast<double>(i + 1) / kRate);
    EXPECT_NEAR(got[i].x, 2 * got[i].head.t + 1, 1e-6);
  }
}

TEST(IntakeGrid, SamplesOnTheGridPassUnchanged) {
  for (const double rate : {100.0, 360.0, 44100.0}) {
    std::vector<Sample> samples(1000);
    for (size_t i = 0; i < samples.size(); ++i) {
      samples[i].t = static_cast<double>(i + 1000000) / rate;
      samples[i].x = i % 7 == 0 ? kNan : static_cast<float>(i) * 0.1f;
    }
    for (const Resample resample : {Resample::hold, Resample::linear}) {
      const auto got = Feed({0, resample, rate, 0.2}, samples);
      ASSERT_EQ(got.size(), samples.size());
      for (size_t i = 0; i < got.size(); ++i) {
        ASSERT_EQ(got[i].head.t, samples[i].t);
        ASSERT_EQ(std::memcmp(&got[i].x, &samples[i].x, sizeof(float)), 0);
      }
    }
  }
}

// --- restarts

// A run that is cut after random emitted samples; each part goes on from the last one's position
// with a fresh Intake and the state that Clock keeps.
std::vector<Got> FeedInParts(const IntakeConfig& config, const std::vector<Sample>& samples,
                             std::mt19937* random) {
  std::vector<Got> all;
  formats::ClockState clock;
  uint64_t position = 0;
  for (;;) {
    Intake intake(config, 1);
    intake.Restore(clock, position);
    const size_t most = 1 + (*random)() % 9;
    const auto part = Feed(intake, samples, position, most);
    all.insert(all.end(), part.begin(), part.end());
    if (part.size() < most) return all;
    const SampleHead& last = part.back().head;
    position = last.position;
    clock = {true, last.has_t, last.has_seq, last.t, last.seq};
  }
}

TEST(IntakeRestart, GoesOnBitForBit) {
  std::mt19937 random(31);
  size_t late = 0, parts = 0;
  for (int round = 0; round < 600; ++round) {
    IntakeConfig config{Below(7, &random), static_cast<Resample>(Below(3, &random)), kRate, 0.2};
    if (!config.active()) config.order_window = 2;
    auto samples = Irregular(150, std::vector<double>{30, 100, 400}[random() % 3], 50, &random);
    const bool numbered = round % 2 == 0;
    for (size_t i = 0; i < samples.size(); ++i) {
      samples[i].seq = i + (i > 100 ? 5 : 0);
      samples[i].has_seq = numbered;
      samples[i].has_t = !numbered || config.resample != Resample::none || random() % 2 == 0;
    }
    if (round % 3 == 0) samples.push_back(samples[samples.size() / 2]);
    Shuffle(&samples, random() % 2 == 0 ? config.order_window : 9, &random);
    if (round % 7 == 0) {
      for (size_t i = 80; i < samples.size(); ++i) samples[i].t -= 3600;
    }
    Intake whole(config, 1);
    const auto want = Feed(whole, samples, 0);
    late += whole.order().too_late();
    const auto got = FeedInParts(config, samples, &random);
    ASSERT_EQ(got.size(), want.size()) << round;
    for (size_t i = 0; i < got.size(); ++i) ASSERT_TRUE(Same(got[i], want[i])) << round << " " << i;
    parts += want.size();
  }
  EXPECT_GT(late, 100u);  // the rounds were not harmless
  EXPECT_GT(parts, 10000u);
}

}  // namespace
}  // namespace xst::stream
