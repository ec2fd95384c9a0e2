// The ECG view's state and picture, fed with records as the daemon sends them.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <string>

#include "apps/demos/ecg/view_picture.h"
#include "apps/demos/ecg/view_state.h"
#include "apps/terminal/text.h"

namespace xst::ecg {
namespace {

const BeatRule kRule = {0.5, 0.5, 0.2, 0.1};

ModelInfo EcgModel() {
  ModelInfo info;
  formats::StreamConfig stream;
  stream.rate_hz = 100;
  stream.inputs = {{"ecg", "mV"}};
  using formats::OutputKind;
  stream.outputs = {{OutputKind::gaussian, {"next"}, "", 1, 0, false},
                    {OutputKind::gaussian, {"later"}, "", 5, 0, false},
                    {OutputKind::surprise, {"surprise"}, "", 1, 0, false},
                    {OutputKind::sigmoid, {"beat"}, "", 1, -1, false}};
  info.config.stream = stream;
  return info;
}

terminal::Record At(uint64_t seq, double p) {
  terminal::Record r;
  r.topic = "ecg/";
  r.seq = seq;
  r.epoch = 1;
  r.timestamp = 50 + static_cast<double>(seq) / 100;
  r.latency_us = 20;
  r.y = {{"next", 0.5f}, {"later", 0.25f}, {"surprise", -1.0f}, {"beat", static_cast<float>(p)}};
  r.x = {{"ecg", std::sin(static_cast<float>(seq) / 10)}};
  return r;
}

// One beat a second, its probability a triangle around sample 50 of every 100.
double Probability(uint64_t seq) {
  return std::max(0.0, 1 - std::abs(static_cast<double>(seq % 100) - 50) / 10);
}

TEST(Outputs, AreFoundByKindAndHorizon) {
  const Outputs found = FindOutputs(EcgModel());
  EXPECT_EQ(found.input, "ecg");
  EXPECT_EQ(found.unit, "mV");
  EXPECT_EQ(found.prediction, "later");
  EXPECT_DOUBLE_EQ(found.ahead_s, 0.05);
  EXPECT_EQ(found.surprise, "surprise");
  EXPECT_EQ(found.beat, "beat");
}

TEST(Outputs, OfAnotherModelAreRefused) {
  EXPECT_THROW(FindOutputs(ModelInfo()), Error);
  ModelInfo info = EcgModel();
  info.config.stream->outputs.pop_back();
  EXPECT_THROW(FindOutputs(info), Error);
  info = EcgModel();
  info.config.stream->rate_hz = 0;
  EXPECT_THROW(FindOutputs(info), Error);
}

TEST(ViewState, CountsBeatsAndTheirRate) {
  ViewState state(FindOutputs(EcgModel()), kRule, 5);
  EXPECT_TRUE(std::isnan(state.heart_rate()));
  for (uint64_t n = 0; n < 2000; ++n) state.Take(At(n, Probability(n)));
  EXPECT_EQ(state.seen(), 2000u);
  EXPECT_EQ(state.beat_count(), 20u);
  EXPECT_NEAR(state.heart_rate(), 60, 1e-9);
  EXPECT_NEAR(state.mean_latency_us(), 20, 1e-9);
  ASSERT_EQ(state.beats().size(), 5u);
  EXPECT_NEAR(state.beats().back(), 50 + 19.5 - 0.1, 1e-9);
  EXPECT_LE(state.trace().points().size(), 502u);
}

TEST(ViewState, StartsAnewWithAnotherEpoch) {
  ViewState state(FindOutputs(EcgModel()), kRule, 5);
  for (uint64_t n = 0; n < 300; ++n) state.Take(At(n, Probability(n)));
  terminal::Record r = At(0, 0);
  r.epoch = 2;
  state.Take(r);
  EXPECT_EQ(state.beat_count(), 3u);
  EXPECT_TRUE(state.beats().empty());
  EXPECT_TRUE(std::isnan(state.heart_rate()));
  EXPECT_EQ(state.trace().points().size(), 1u);
}

TEST(Picture, FitsEveryTerminal) {
  ViewState state(FindOutputs(EcgModel()), kRule, kWindowSeconds);
  for (uint64_t n = 0; n < 1000; ++n) state.Take(At(n, Probability(n)));
  for (const int columns : {20, 40, 79, 200}) {
    for (const int rows : {5, 14, 24, 60}) {
      const auto picture = Picture(state, columns, rows, "tcp://127.0.0.1:9872", true);
      EXPECT_EQ(picture.size(), static_cast<size_t>(std::max(rows, 13)));
      for (std::string line : picture) {
        for (size_t at; (at = line.find('\x1b')) != std::string::npos;) {
          line.erase(at, line.find('m', at) + 1 - at);
        }
        EXPECT_LE(terminal::Cells(line), columns) << line;
      }
    }
  }
}

TEST(Picture, ShowsTheNumbersWithUnits) {
  ViewState state(FindOutputs(EcgModel()), kRule, kWindowSeconds);
  EXPECT_NE(PlainLine(state).find("heart rate –"), std::string::npos);
  for (uint64_t n = 0; n < 1000; ++n) state.Take(At(n, Probability(n)));
  const std::string line = PlainLine(state);
  for (const char* part : {"heart rate 60/min", "beats 10", "surprise -1.0 nat", "latency 20 us",
                           " mV", "deadlines missed 0"}) {
    EXPECT_NE(line.find(part), std::string::npos) << part << " in " << line;
  }
  std::string all;
  for (const std::string& row : Picture(state, 100, 24, "tcp://127.0.0.1:9872", false)) all += row;
  for (const char* part :
       {"▼", "mV", "nat", "µs", "predicted 50 ms ahead", "waiting for the daemon"}) {
    EXPECT_NE(all.find(part), std::string::npos) << part;
  }
}

}  // namespace
}  // namespace xst::ecg
