// A TiRex model on a live stream: a forecast every few samples.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "sdk/forecast.h"
#include "tests/support/vectors.h"
#include "tests/unit/stream/one_stream.h"

namespace xst::stream {
namespace {

// Every 5 samples the quantiles of the next 3.
std::shared_ptr<const Model> EveryFive() {
  static const auto model = test::OpenTirex("{every: 5, horizon: 3}");
  return model;
}

std::unique_ptr<Stream> MakeForecasts(uint64_t epoch = kEpoch) {
  StreamOptions options;
  options.name = "s";
  return std::make_unique<Stream>(EveryFive(), options, epoch);
}

TEST(ForecastStream, AnswersEveryFewSamples) {
  const auto stream = MakeForecasts();
  Forecaster forecaster(EveryFive());
  EXPECT_EQ(stream->info().input_width, 1u);
  ASSERT_EQ(stream->info().output_width, 27u);
  EXPECT_EQ(stream->y_names().front(), "q0.1+1");
  EXPECT_EQ(stream->y_names()[10], "q0.2+2");
  EXPECT_EQ(stream->y_names().back(), "q0.9+3");
  EXPECT_EQ(stream->x_names(), std::vector<std::string>{"x0"});
  std::vector<float> want(27);
  for (uint64_t i = 0; i < 100; ++i) {
    const float x = i % 7 == 4 ? kNan : Value(i);
    ASSERT_TRUE(stream->Offer(Numbered(i), std::span(&x, 1), {}));
    forecaster.push(x);
    const auto out = StepAll(*stream);
    ASSERT_EQ(out.size(), i % 5 == 4 ? 1u : 0u) << i;
    if (out.empty()) continue;
    ASSERT_EQ(forecaster.forecast(want), Status::ok);
    EXPECT_TRUE(SameBits(out[0].y, want)) << i;
    EXPECT_TRUE(SameBits(out[0].x, {x}));
    EXPECT_EQ(out[0].head.seq, i / 5);
    EXPECT_EQ(out[0].head.epoch, kEpoch);
    EXPECT_EQ(out[0].head.t, static_cast<double>(i) / 100);
    EXPECT_EQ(out[0].head.quality, i == 4 ? uint32_t{kReset} : 0);
  }
  EXPECT_TRUE(stream->idle());
  EXPECT_TRUE(stream->published());
  EXPECT_EQ(stream->counts().samples, 100u);
  EXPECT_EQ(stream->counts().outputs, 20u);
  EXPECT_EQ(stream->step_time().count(), 20u);
}

TEST(ForecastStream, HasNoClock) {
  const auto stream = MakeForecasts();
  EXPECT_EQ(stream->info().rate_hz, 0);
  // A gap, a duplicate and one from the past: five samples are left.
  for (const uint64_t seq : {0, 1, 1, 9, 5, 1000, 1001}) Offer(*stream, seq);
  const auto out = StepAll(*stream);
  ASSERT_EQ(out.size(), 1u);
  EXPECT_EQ(out[0].head.gap_s, 0);
  EXPECT_EQ(stream->counts().duplicates, 2u);
  EXPECT_EQ(stream->counts().missing, 7u + 990u);
  EXPECT_EQ(stream->counts().resets, 0u);
}

TEST(ForecastStream, ACheckpointAnywhereContinuesBitForBit) {
  constexpr uint64_t kCount = 83;
  const auto whole = MakeForecasts();
  for (uint64_t i = 0; i < kCount; ++i) Offer(*whole, i);
  const auto want = StepAll(*whole);
  ASSERT_EQ(want.size(), kCount / 5);
  for (uint64_t split = 0; split <= kCount; ++split) {
    const auto first = MakeForecasts();
    for (uint64_t i = 0; i < split; ++i) Offer(*first, i);
    auto got = StepAll(*first);
    first->RequestCheckpoint();
    EXPECT_FALSE(first->Turn());
    const Checkpoint* checkpoint = first->FetchCheckpoint();
    ASSERT_NE(checkpoint, nullptr);
    const auto second = MakeForecasts(999);
    second->Restore(*checkpoint);
    EXPECT_EQ(second->start_position(), split);
    for (uint64_t i = split; i < kCount; ++i) Offer(*second, i);
    for (const Output& o : StepAll(*second)) got.push_back(o);
    ASSERT_EQ(got.size(), want.size()) << split;
    for (size_t i = 0; i < want.size(); ++i) {
      EXPECT_TRUE(SameBits(got[i].y, want[i].y)) << split << " " << i;
      EXPECT_EQ(got[i].head.seq, want[i].head.seq);
      EXPECT_EQ(got[i].head.epoch, want[i].head.epoch);
      EXPECT_EQ(got[i].head.t, want[i].head.t);
      EXPECT_EQ(got[i].head.quality, want[i].head.quality);
    }
  }
}

std::unique_ptr<Stream> MakeStepped() {
  return std::make_unique<Stream>(test::OpenCase("stream/forecaster"), StreamOptions{}, kEpoch);
}

TEST(ForecastStream, RefusesCheckpointsOfOthers) {
  const auto other = MakeStepped();
  other->RequestCheckpoint();
  EXPECT_FALSE(other->Turn());
  EXPECT_THROW(MakeForecasts()->Restore(*other->FetchCheckpoint()), Error);
  const auto forecasts = MakeForecasts();
  forecasts->RequestCheckpoint();
  EXPECT_FALSE(forecasts->Turn());
  EXPECT_THROW(MakeStepped()->Restore(*forecasts->FetchCheckpoint()), Error);
}

TEST(ForecastStream, HasALimit) {
  EXPECT_NO_THROW(Stream(test::OpenTirex("{every: 1, horizon: 455}"), {}, kEpoch));  // 4095 values
  try {
    Stream(test::OpenTirex("{every: 1, horizon: 456}"), {}, kEpoch);
    ADD_FAILURE() << "expected an Error";
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), Status::invalid_argument);
    EXPECT_NE(std::string(e.what()).find("at most 4096"), std::string::npos) << e.what();
    EXPECT_NE(std::string(e.what()).find("4104"), std::string::npos) << e.what();
  }
}

}  // namespace
}  // namespace xst::stream
