#include "sdk/stream/alarms.h"

#include <gtest/gtest.h>

#include <cmath>
#include <memory>
#include <string>
#include <vector>

#include "formats/status.h"
#include "sdk/stream/stream.h"
#include "tests/support/vectors.h"

namespace xst::stream {
namespace {

std::unique_ptr<Stream> MakeStream() {
  return std::make_unique<Stream>(test::OpenCase("stream/forecaster"), StreamOptions{}, 1);
}

AlarmRule Rule(bool above, double threshold, double clear, double for_s = 0) {
  AlarmRule rule;
  rule.name = "a";
  rule.output = "y0";
  rule.above = above;
  rule.threshold = threshold;
  rule.clear = clear;
  rule.for_s = for_s;
  return rule;
}

// One letter a value: R raised, c cleared, "." nothing; samples are a second apart.
std::string Play(Alarm* alarm, const std::vector<float>& values, double t = 0, uint64_t epoch = 1) {
  std::string states;
  for (const float value : values) {
    OutputHead head;
    head.t = t++;
    head.epoch = epoch;
    states += alarm->Update(head, value) ? (alarm->active() ? 'R' : 'c') : '.';
  }
  return states;
}

TEST(Alarm, RaisesBeyondTheThresholdAndClearsAtTheOther) {
  Alarm above(Rule(true, 2, 1), 0);
  EXPECT_EQ(Play(&above, {0, 2, 2.5f, 1.5f, 3, 1.01f, 1, 1.5f, 2, 2.1f, -5}), "..R...c..Rc");
  EXPECT_EQ(above.raised(), 2u);
  EXPECT_FALSE(above.active());
  Alarm below(Rule(false, -2, -1), 0);
  EXPECT_EQ(Play(&below, {0, -2, -2.5f, -1.5f, -3, -1, -1.5f, -2.1f}), "..R..c.R");
  EXPECT_TRUE(below.active());
}

TEST(Alarm, NanNeitherRaisesNorClears) {
  Alarm alarm(Rule(true, 2, 1), 0);
  EXPECT_EQ(Play(&alarm, {NAN, 3, NAN, NAN, 0, NAN, INFINITY, -INFINITY}), ".R..c.Rc");
}

TEST(Alarm, WaitsBeforeItIsRaised) {
  Alarm alarm(Rule(true, 2, 1, 3), 0);
  EXPECT_EQ(Play(&alarm, {3, 3, 3, 3, 3, 0}), "...R.c");
  EXPECT_EQ(Play(&alarm, {3, 3, 2, 3, 3, 3, 3}, 10), "......R");  // once not beyond it: anew
  EXPECT_EQ(Play(&alarm, {0, 3, NAN, NAN, 3}, 20), "c...R");      // NaN lets the wait go on
  EXPECT_EQ(Play(&alarm, {0, 3, 3}, 30), "c..");
  EXPECT_EQ(Play(&alarm, {3, 3, 3, 3}, 33, 2), "...R");  // a reset: anew
  EXPECT_EQ(Play(&alarm, {0, 3, 3}, 50, 2), "c..");
  EXPECT_EQ(Play(&alarm, {3, 3, 3, 3}, 10, 2), "...R");  // time stepped back: anew
}

TEST(Alarms, FindTheirOutputOrSayWhatThereIs) {
  const auto one = MakeStream();
  AlarmRule rule = Rule(true, 1, 1);
  rule.output = one->y_names().back();
  Alarms good(*one, {rule});
  ASSERT_EQ(good.all().size(), 1u);
  EXPECT_EQ(good.all()[0]->index(), one->y_names().size() - 1);
  rule.output = "pulse";
  rule.place = "d.yaml:3:9: streams[0].alarms[0].";
  try {
    Alarms bad(*one, {rule});
    FAIL();
  } catch (const Error& e) {
    const std::string text = e.what();
    EXPECT_EQ(text.find("d.yaml:3:9: streams[0].alarms[0].output: expected an output of the model"),
              0u);
    EXPECT_NE(text.find(one->y_names()[0]), std::string::npos);
    EXPECT_NE(text.find("got \"pulse\""), std::string::npos);
  }
}

TEST(AlarmSink, SaysWhatChangedOfItsStreamAlone) {
  const auto one = MakeStream(), other = MakeStream();
  AlarmRule rule = Rule(true, 1, 0);
  rule.output = one->y_names()[0];
  std::string said;
  AlarmSink sink([&](const Stream&, const Alarm& alarm, const OutputHead& head, float value) {
    said += (alarm.active() ? "+" : "-") + std::to_string(head.seq) + "=" +
            std::to_string(static_cast<int>(value)) + " ";
  });
  sink.Set({std::make_shared<Alarms>(*one, std::vector{rule})});
  std::vector<float> y(one->y_names().size());
  for (uint64_t seq = 0; seq < 6; ++seq) {
    OutputHead head;
    head.seq = seq;
    y[0] = seq % 4 == 2 ? 5 : seq % 4 == 3 ? -1 : 0.5f;
    sink.Write(*other, head, y, {});
    sink.Write(*one, head, y, {});
  }
  EXPECT_EQ(said, "+2=5 -3=-1 ");
}

}  // namespace
}  // namespace xst::stream
