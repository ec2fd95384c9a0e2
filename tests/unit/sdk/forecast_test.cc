// Forecasts against the specification spelt out in double around the same model's tokens, and the
// live stream against the series.
#include "sdk/forecast.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <deque>
#include <limits>

#include "formats/npy.h"
#include "formats/snapshot.h"
#include "sdk/probe.h"
#include "tests/support/vectors.h"

namespace xst {
namespace {

// P = 8, X = 64, Q = 9.
constexpr char kModel[] = "tirex/01_small";
constexpr size_t kPatch = 8, kContext = 64, kQuantiles = 9;
const float kNan = std::numeric_limits<float>::quiet_NaN();
const float kInf = std::numeric_limits<float>::infinity();

bool SameBits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

// A wandering signal with a gap.
std::vector<float> Signal(size_t count) {
  std::vector<float> x(count);
  for (size_t i = 0; i < count; ++i) {
    const auto t = static_cast<float>(i);
    x[i] = 40 + 3 * std::sin(0.3f * t) + std::cos(1.9f * t) + 0.02f * t;
    if (i % 37 == 5 || i % 37 == 6) x[i] = kNan;
  }
  return x;
}

std::vector<float> Forecast(Forecaster& f, const std::vector<float>& series, uint32_t horizon,
                            uint32_t rollout) {
  std::vector<float> out(horizon * f.quantiles());
  EXPECT_EQ(f.forecast(series, horizon, rollout, out), Status::ok);
  return out;
}

// Sections 2 and 4 word by word: a series that grows by NaN, whole contexts, lists of tokens.
std::vector<double> PlainForecast(const std::shared_ptr<const Model>& model,
                                  const std::vector<float>& series, size_t horizon, size_t k) {
  std::deque<double> s;
  for (float x : series) s.push_back(std::isfinite(x) && std::abs(x) <= 1e30f ? x : NAN);
  std::vector<std::vector<double>> rows;  // [time][quantile]
  for (size_t left = (horizon + kPatch - 1) / kPatch; left > 0;) {
    k = std::min(left, k);
    std::deque<double> c = s;
    while (c.size() > kContext) c.pop_front();
    while (c.size() < kContext) c.push_front(NAN);
    double n = 0, loc = 0, scale = 0;
    for (double x : c) {
      if (!std::isnan(x)) ++n, loc += x;
    }
    if (n > 0) loc /= n;
    for (double x : c) {
      if (!std::isnan(x)) scale += (x - loc) * (x - loc);
    }
    scale = n > 0 ? std::sqrt(scale / n) : 1;
    if (scale == 0) scale = std::abs(loc) + 1e-5;
    Session session(model);
    std::vector<std::vector<float>> outputs;
    for (size_t t = 0; t < kContext / kPatch + k - 1; ++t) {
      std::vector<float> token(2 * kPatch, 0), out(kQuantiles * kPatch);
      for (size_t i = 0; i < kPatch && t * kPatch + i < kContext; ++i) {
        const double x = c[t * kPatch + i];
        if (std::isnan(x)) continue;
        token[i] = static_cast<float>((x - loc) / scale);
        token[kPatch + i] = 1;
      }
      EXPECT_EQ(session.step(token, out), Status::ok);
      outputs.push_back(out);
    }
    for (size_t j = outputs.size() - k; j < outputs.size(); ++j) {
      for (size_t i = 0; i < kPatch; ++i) {
        std::vector<double> row;
        for (size_t q = 0; q < kQuantiles; ++q) {
          row.push_back(outputs[j][q * kPatch + i] * scale + loc);
        }
        rows.push_back(row);
      }
    }
    left -= k;
    s.insert(s.end(), k * kPatch, NAN);
  }
  rows.resize(horizon);
  std::vector<double> flat;
  for (const auto& row : rows) flat.insert(flat.end(), row.begin(), row.end());
  return flat;
}

void ExpectPlain(const std::vector<float>& series, uint32_t horizon, uint32_t rollout) {
  const auto model = test::OpenCase(kModel);
  Forecaster f(model);
  const auto got = Forecast(f, series, horizon, rollout);
  const auto want = PlainForecast(model, series, horizon, rollout);
  ASSERT_EQ(got.size(), want.size());
  double largest = 0, error = 0;
  for (size_t i = 0; i < want.size(); ++i) {
    ASSERT_TRUE(std::isfinite(got[i])) << i;
    largest = std::max(largest, std::abs(want[i]));
    error = std::max(error, std::abs(got[i] - want[i]));
  }
  EXPECT_LE(error, 1e-6 * largest + std::numeric_limits<float>::denorm_min())
      << series.size() << " samples, " << horizon << ", " << rollout;
}

TEST(Forecaster, FollowsTheSpecification) {
  for (const size_t samples : {0u, 1u, 7u, 8u, 50u, 63u, 64u, 65u, 100u, 333u}) {
    for (const uint32_t horizon : {1u, 8u, 13u, 24u}) {
      for (const uint32_t rollout : {1u, 2u, 3u, 50u}) {
        ExpectPlain(Signal(samples), horizon, rollout);
      }
    }
  }
}

TEST(Forecaster, LooksBeyondItsContext) {
  // After 8 patches nothing of the series is left in the context.
  ExpectPlain(Signal(70), 150, 1);
  ExpectPlain(Signal(70), 150, 4);
  ExpectPlain(Signal(70), 150, 100);
}

TEST(Forecaster, BearsMissingConstantAndExtremeSeries) {
  ExpectPlain(std::vector<float>(80, kNan), 20, 1);
  ExpectPlain(std::vector<float>(80, kNan), 20, 3);
  ExpectPlain(std::vector<float>(80, 7.3f), 20, 1);
  ExpectPlain(std::vector<float>(80, 0), 20, 2);
  std::vector<float> one(80, kNan);
  one[70] = -3;
  ExpectPlain(one, 20, 1);
  ExpectPlain({1e30f, -1e30f, 0, 5e29f}, 20, 1);
  ExpectPlain({1e-40f, -1e-40f, 0, 3e-41f}, 20, 1);
  auto holes = Signal(80);
  holes[60] = kInf;
  holes[61] = -kInf;
  holes[62] = 2e30f;
  ExpectPlain(holes, 20, 1);
  auto missing = holes;
  missing[60] = missing[61] = missing[62] = kNan;
  Forecaster f(test::OpenCase(kModel));
  EXPECT_TRUE(SameBits(Forecast(f, holes, 20, 1), Forecast(f, missing, 20, 1)));
}

TEST(Forecaster, AConstantSeriesScalesByItself) {
  // z is 0 whatever the constant, so that (y - c) / (|c| + 1e-5) is the same.
  Forecaster f(test::OpenCase(kModel));
  const auto zero = Forecast(f, std::vector<float>(64, 0), 8, 1);
  const auto some = Forecast(f, std::vector<float>(64, -12.7f), 8, 1);
  const double scale = double{12.7f} + 1e-5;
  for (size_t i = 0; i < zero.size(); ++i) {
    EXPECT_NEAR((some[i] + double{12.7f}) / scale, zero[i] / 1e-5, 1e-5);
  }
}

TEST(Forecaster, TheRolloutIsAtMostWhatIsLeftAndMatters) {
  Forecaster f(test::OpenCase(kModel));
  const auto series = Signal(100);
  EXPECT_TRUE(SameBits(Forecast(f, series, 24, 3), Forecast(f, series, 24, 1u << 31)));
  EXPECT_TRUE(SameBits(Forecast(f, series, 8, 1), Forecast(f, series, 8, 7)));
  const auto one = Forecast(f, series, 24, 1), three = Forecast(f, series, 24, 3);
  const size_t first = kPatch * kQuantiles;
  EXPECT_TRUE(std::equal(one.begin(), one.begin() + first, three.begin()));
  EXPECT_GT(LargestDifference(std::span(one).subspan(first), std::span(three).subspan(first)),
            1e-4 * LargestMagnitude(one));
  // A shorter horizon is a beginning.
  const auto shorter = Forecast(f, series, 13, 1);
  EXPECT_TRUE(std::equal(shorter.begin(), shorter.end(), one.begin()));
}

TEST(Forecaster, ForgetsNothingAndRemembersNothing) {
  Forecaster f(test::OpenCase(kModel));
  const auto series = Signal(100);
  const auto once = Forecast(f, series, 24, 2);
  Forecast(f, std::vector<float>(3, 1000), 50, 1);
  EXPECT_TRUE(SameBits(Forecast(f, series, 24, 2), once));
  const std::vector<float> last(series.end() - kContext, series.end());
  EXPECT_TRUE(SameBits(Forecast(f, last, 24, 2), once));
}

TEST(Forecaster, IsWithinToleranceOfThePackageOnEveryDevice) {
  for (const char* name : {"tirex/01_small", "tirex/02_short_context_nan_constant"}) {
    const std::string folder = std::string(XST_TEST_DATA) + "/" + name;
    const auto series = formats::ReadNpy(folder + "/input.npy");
    const auto want = formats::ReadNpy(folder + "/expected.npy");
    std::vector<std::shared_ptr<const Model>> models = {test::OpenCase(name, "", "reference")};
    for (const std::string& isa : AvailableIsas()) {
      models.push_back(test::OpenCase(name, isa));
      models.push_back(test::OpenCase(name, isa, "cpu", Arithmetic::single));
    }
    for (const auto& model : models) {
      Forecaster f(model);
      std::vector<float> got(want.f32.size());
      for (uint64_t b = 0; b < series.shape[0]; ++b) {
        const size_t samples = series.shape[1], width = got.size() / series.shape[0];
        ASSERT_EQ(f.forecast({&series.f32[b * samples], samples},
                             static_cast<uint32_t>(want.shape[1]), 1, {&got[b * width], width}),
                  Status::ok);
      }
      EXPECT_LE(LargestDifference(got, want.f32), 1e-4 * LargestMagnitude(want.f32))
          << name << " " << model->info().isa;
    }
  }
}

TEST(Forecaster, RefusesWrongArguments) {
  Forecaster f(test::OpenCase(kModel));
  const auto series = Signal(20);
  std::vector<float> out(2 * kQuantiles, 77);
  EXPECT_EQ(f.forecast(series, 0, 1, {}), Status::invalid_argument);
  EXPECT_EQ(f.forecast(series, 2, 0, out), Status::invalid_argument);
  EXPECT_EQ(f.forecast(series, 3, 1, out), Status::shape_mismatch);
  EXPECT_EQ(f.forecast(out), Status::shape_mismatch);
  EXPECT_EQ(out, std::vector<float>(2 * kQuantiles, 77));
  EXPECT_THROW(Forecaster(test::OpenCase("block_stack/mlstm_defaults")), Error);
  EXPECT_THROW(Forecaster(test::OpenCase("block_stack/lm_tied")), Error);
}

std::vector<float> Now(Forecaster& f) {
  std::vector<float> out(f.config().forecast.horizon * f.quantiles());
  EXPECT_EQ(f.forecast(out), Status::ok);
  return out;
}

TEST(LiveForecast, IsTheForecastOfTheLastSamples) {
  const auto model = test::OpenTirex("{every: 5, horizon: 20, rollout: 2}");
  Forecaster live(model), batch(model);
  EXPECT_FALSE(live.due());
  const auto series = Signal(200);
  for (size_t n = 1; n <= series.size(); ++n) {
    live.push(series[n - 1]);
    EXPECT_EQ(live.samples(), n);
    EXPECT_EQ(live.due(), n % 5 == 0);
    if (n % 5 != 0 && n % 64 > 1) continue;
    const std::vector<float> last(
        series.begin() + static_cast<ptrdiff_t>(n - std::min(n, kContext)),
        series.begin() + static_cast<ptrdiff_t>(n));
    ASSERT_TRUE(SameBits(Now(live), Forecast(batch, last, 20, 2))) << n;
  }
}

TEST(LiveForecast, AnotherForecastOrAQuestionLeavesItAlone) {
  const auto model = test::OpenTirex("{every: 1, horizon: 8}");
  Forecaster live(model), untouched(model);
  for (const float x : Signal(90)) {
    live.push(x);
    untouched.push(x);
  }
  const auto once = Now(live);
  Forecast(live, Signal(10), 30, 1);
  EXPECT_TRUE(SameBits(Now(live), once));
  EXPECT_EQ(live.save(), untouched.save());
}

TEST(LiveForecast, StartsAnewAfterReset) {
  const auto model = test::OpenTirex("{every: 3, horizon: 8}");
  Forecaster live(model), fresh(model);
  for (const float x : Signal(70)) live.push(x);
  live.reset();
  EXPECT_EQ(live.samples(), 0u);
  EXPECT_FALSE(live.due());
  EXPECT_EQ(live.save(), fresh.save());
  EXPECT_TRUE(SameBits(Now(live), Now(fresh)));
}

TEST(LiveForecast, ContinuesBitEqualFromASnapshotAtEverySample) {
  const auto model = test::OpenTirex("{every: 4, horizon: 9}");
  const auto series = Signal(140);
  Forecaster first(model);
  for (size_t split = 0; split <= series.size(); ++split) {
    const auto snapshot = first.save();
    ASSERT_EQ(snapshot.size(), first.snapshot_bytes());
    Forecaster loaded(model);
    loaded.push(1);
    loaded.load(snapshot);
    EXPECT_EQ(loaded.save(), snapshot);
    EXPECT_EQ(loaded.samples(), split);
    EXPECT_EQ(loaded.due(), first.due());
    ASSERT_TRUE(SameBits(Now(loaded), Now(first))) << split;
    if (split == series.size()) break;
    loaded.push(series[split]);
    first.push(series[split]);
    EXPECT_EQ(loaded.save(), first.save());
  }
}

TEST(LiveForecast, SnapshotsAreEqualOnEveryDevice) {
  const std::string forecast = "{every: 4, horizon: 9}";
  Forecaster cpu(test::OpenTirex(forecast)), reference(test::OpenTirex(forecast, "reference"));
  for (const float x : Signal(99)) {
    cpu.push(x);
    reference.push(x);
  }
  EXPECT_EQ(cpu.save(), reference.save());
  const auto want = Now(cpu);
  reference.load(cpu.save());
  EXPECT_LE(LargestDifference(Now(reference), want), 1e-5 * LargestMagnitude(want));
}

TEST(LiveForecast, RefusesOtherSnapshotsAndChangesNothing) {
  const auto model = test::OpenCase(kModel);
  Forecaster live(model);
  for (const float x : Signal(20)) live.push(x);
  const auto before = live.save();
  const auto refuse = [&](const std::vector<std::byte>& bytes, Status status) {
    Fault fault;
    EXPECT_EQ(live.load(bytes, {}, &fault), status) << fault.message;
    EXPECT_NE(std::string(fault.message).find("expected"), std::string::npos);
    EXPECT_EQ(live.save(), before);
  };
  refuse({}, Status::truncated);
  refuse({before.begin(), before.end() - 1}, Status::truncated);
  auto flipped = before;
  flipped[flipped.size() / 2] ^= std::byte{1};
  refuse(flipped, Status::corrupt);
  refuse(Forecaster(test::OpenCase("tirex/02_short_context_nan_constant")).save(),
         Status::other_model);
  refuse(Forecaster(test::OpenTirex("{every: 3}")).save(), Status::other_model);
  refuse(Session(model).save(), Status::other_model);

  formats::SnapshotHeader header;
  std::span<const std::byte> values;
  Fault fault;
  ASSERT_EQ(formats::ReadSnapshot(before, &header, &values, &fault), Status::ok);
  for (const float bad : {kInf, 2e30f}) {
    auto sealed = before;
    std::memcpy(formats::SnapshotValues(sealed).data(), &bad, sizeof bad);
    formats::SealSnapshot(header, sealed);
    refuse(sealed, Status::corrupt);
  }
  header.source_hash.low ^= 1;
  auto other = before;
  formats::SealSnapshot(header, other);
  refuse(other, Status::other_model);
  live.load(other, {.allow_other_weights = true});
  EXPECT_EQ(live.save(), before);
  std::vector<std::byte> wrong(before.size() + 1);
  EXPECT_EQ(live.save(wrong), Status::shape_mismatch);
}

}  // namespace
}  // namespace xst
