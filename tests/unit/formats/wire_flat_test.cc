#include "formats/wire_flat.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>
#include <random>

#include "formats/notices.h"

namespace xst::formats {
namespace {

const std::vector<std::string> kY = {"next", "next.sigma", "beat"}, kX = {"ecg"};

std::string Write(const OutputRecord& record, bool names) {
  std::string text;
  WriteOutputFlat(record, names ? &kY : nullptr, names ? &kX : nullptr, &text);
  return text;
}

Status Parse(std::string_view text, FlatOutput* out, Fault* fault) {
  return ParseOutputFlat(std::as_bytes(std::span(text.data(), text.size())), out, fault);
}

TEST(WireFlat, EveryFieldComesBack) {
  const float y[] = {1.5f, std::numeric_limits<float>::quiet_NaN(), -0.0f}, x[] = {INFINITY};
  OutputRecord record;
  record.timestamp = 1700000000.125;
  record.seq = UINT64_MAX;
  record.epoch = (uint64_t{1} << 53) - 1;
  record.quality = 33;
  record.latency_us = 12.5;
  record.gap_s = 0.25;
  record.t_receive_ns = 1700000000125000001;
  record.t_publish_ns = 1700000000125000999;
  record.y = y;
  record.x = x;
  for (const bool names : {false, true}) {
    // At every alignment: a message lies where it lies.
    const std::string good = Write(record, names);
    for (size_t shift = 0; shift < 8; ++shift) {
      const std::string moved = std::string(shift, ' ') + good;
      FlatOutput out;
      Fault fault;
      ASSERT_EQ(Parse(std::string_view(moved).substr(shift), &out, &fault), Status::ok);
      EXPECT_EQ(out.t_source, 1700000000125000000);
      EXPECT_EQ(out.t_receive, record.t_receive_ns);
      EXPECT_EQ(out.t_publish, record.t_publish_ns);
      EXPECT_EQ(out.seq, record.seq);
      EXPECT_EQ(out.epoch, record.epoch);
      EXPECT_EQ(out.quality, 33u);
      EXPECT_EQ(out.latency_us, 12.5);
      EXPECT_EQ(out.gap_s, 0.25);
      ASSERT_EQ(out.y.size(), 3u);
      EXPECT_EQ(out.y[0], 1.5f);
      EXPECT_TRUE(std::isnan(out.y[1]));
      EXPECT_TRUE(std::signbit(out.y[2]));
      EXPECT_EQ(out.x, std::vector<float>{INFINITY});
      EXPECT_EQ(out.has_names, names);
      EXPECT_EQ(out.names.y, names ? kY : std::vector<std::string>{});
      EXPECT_EQ(out.names.x, names ? kX : std::vector<std::string>{});
    }
  }
}

TEST(WireFlat, TimesBeyondTheRangeAreItsEnds) {
  OutputRecord record;
  FlatOutput out;
  Fault fault;
  for (const double t : {1e300, -1e300, 9.3e9, double{NAN}}) {
    record.timestamp = t;
    ASSERT_EQ(Parse(Write(record, false), &out, &fault), Status::ok);
    EXPECT_EQ(out.t_source, std::isnan(t) ? 0 : t > 0 ? INT64_MAX : INT64_MIN);
  }
}

TEST(WireFlat, TruncatedAndMangledRecordsNeverThrow) {
  const float y[] = {1, 2, 3}, x[] = {4};
  OutputRecord record;
  record.y = y;
  record.x = x;
  const std::string good = Write(record, true);
  FlatOutput out;
  Fault fault;
  for (size_t n = 0; n < good.size(); ++n) {
    Parse(std::string_view(good).substr(0, n), &out, &fault);
  }
  EXPECT_NE(Parse(good.substr(0, 7), &out, &fault), Status::ok);
  EXPECT_NE(Parse("", &out, &fault), Status::ok);
  EXPECT_NE(Parse(std::string((1 << 20) + 1, 'x'), &out, &fault), Status::ok);
  std::mt19937 bits(7);
  for (int round = 0; round < 50000; ++round) {
    std::string text = good;
    for (int change = 0; change < 2; ++change) {
      text[bits() % text.size()] = static_cast<char>(bits());
    }
    if (Parse(text, &out, &fault) != Status::ok) {
      EXPECT_NE(fault.message[0], '\0');
    } else if (out.has_names) {
      EXPECT_EQ(out.names.y.size(), out.y.size());
      EXPECT_EQ(out.names.x.size(), out.x.size());
    }
  }
}

TEST(Notices, AlarmsComeBack) {
  AlarmRecord alarm, back;
  alarm.timestamp = 12.5;
  alarm.seq = UINT64_MAX;
  alarm.epoch = 7;
  alarm.name = "high";
  alarm.output = "a\"\xff\n";  // any bytes
  alarm.value = 0.3f;
  alarm.active = true;
  const std::string text = WriteAlarm(alarm);
  EXPECT_NE(text.find("\"value\":0.3}"), std::string::npos) << text;
  ASSERT_TRUE(ParseAlarm(text.data(), text.size(), &back));
  EXPECT_EQ(back.seq, alarm.seq);
  EXPECT_EQ(back.name, "high");
  EXPECT_EQ(back.output, "a\"\xef\xbf\xbd\n");
  EXPECT_EQ(back.value, 0.3f);
  EXPECT_TRUE(back.active);
  alarm.value = -INFINITY;
  EXPECT_NE(WriteAlarm(alarm).find("\"value\":null"), std::string::npos);
}

TEST(Notices, HeartbeatsComeBack) {
  Heartbeat beat, back;
  beat.timestamp = 1.5;
  beat.streams = {{"ecg", 7, 1000}, {"b", 8, 0}};
  std::string text = WriteHeartbeat(beat);
  EXPECT_EQ(text.find("bye"), std::string::npos);
  ASSERT_TRUE(ParseHeartbeat(text.data(), text.size(), &back));
  ASSERT_EQ(back.streams.size(), 2u);
  EXPECT_FALSE(back.bye);
  beat.bye = true;
  text = WriteHeartbeat(beat);
  ASSERT_TRUE(ParseHeartbeat(text.data(), text.size(), &back));
  EXPECT_TRUE(back.bye);
}

TEST(Notices, OthersAreRefused) {
  AlarmRecord alarm;
  Heartbeat beat;
  for (const std::string text :
       {"", "[]", "{}", "{\"timestamp\": \"x\"}", "{\"timestamp\": 1, \"streams\": 5}",
        "{\"timestamp\": 1, \"streams\": {\"a\": 1}}",
        "{\"timestamp\": 1, \"streams\": {\"a\": {\"epoch\": -1, \"seq\": 1e300}}}",
        "{\"timestamp\":1,\"seq\":-1,\"epoch\":1,\"name\":\"a\",\"output\":\"b\",\"active\":true}",
        "{\"timestamp\":1,\"seq\":1,\"epoch\":1,\"name\":5,\"output\":\"b\",\"active\":true}"}) {
    EXPECT_FALSE(ParseAlarm(text.data(), text.size(), &alarm)) << text;
    EXPECT_FALSE(ParseHeartbeat(text.data(), text.size(), &beat)) << text;
  }
}

}  // namespace
}  // namespace xst::formats
