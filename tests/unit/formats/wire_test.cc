#include "formats/wire.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <nlohmann/json.hpp>
#include <random>

namespace xst::formats {
namespace {

InputRecord Parse(const std::string& text, uint32_t width) {
  InputRecord record;
  Fault fault;
  EXPECT_EQ(ParseInput(text, width, &record, &fault), Status::ok) << text << fault.message;
  return record;
}

std::string FailureOf(const std::string& text, uint32_t width) {
  InputRecord record;
  Fault fault;
  const Status s = ParseInput(text, width, &record, &fault);
  if (s == Status::ok) return "accepted";
  EXPECT_EQ(s, fault.status);
  return fault.message;
}

TEST(WireInput, Json) {
  const InputRecord r =
      Parse(R"({"t": 1.25, "x": [1, null, -3.5], "seq": 18446744073709551615})", 3);
  EXPECT_EQ(r.t, 1.25);
  EXPECT_EQ(r.seq, UINT64_MAX);
  EXPECT_EQ(r.x[0], 1);
  EXPECT_TRUE(std::isnan(r.x[1]));
  EXPECT_EQ(r.x[2], -3.5f);
  const InputRecord bare = Parse(" {\"x\":[2]}\r\n", 1);
  EXPECT_FALSE(bare.t);
  EXPECT_FALSE(bare.seq);
  EXPECT_EQ(Parse(R"({"t":-7,"x":[9007199254740993]})", 1).t, -7);
  EXPECT_EQ(Parse(R"({"id": {"t": [1, {"x": 2}]}, "x": [4], "name": "a"})", 1).x[0], 4);
}

TEST(WireInput, CsvWithAndWithoutTime) {
  const InputRecord r = Parse("1,2.5", 2);
  EXPECT_FALSE(r.t);
  EXPECT_EQ(r.x[1], 2.5f);
  const InputRecord timed = Parse("1700000000.123456, 7,", 2);
  EXPECT_EQ(timed.t, 1700000000.123456);
  EXPECT_EQ(timed.x[0], 7);
  EXPECT_TRUE(std::isnan(timed.x[1]));
  EXPECT_TRUE(std::isnan(Parse("nan", 1).x[0]));
  EXPECT_TRUE(std::isinf(Parse("-inf", 1).x[0]));
  EXPECT_EQ(Parse("1e300,5", 1).t, 1e300);
}

TEST(WireInput, FloatsAreRoundedOnce) {
  // Just above a tie of float32, exactly one after rounding to double.
  const std::string tie = "1.00000005960464477539062500000001";
  EXPECT_EQ(Parse(tie, 1).x[0], 1.00000011920928955f);
  EXPECT_EQ(Parse("{\"x\":[" + tie + "]}", 1).x[0], 1.00000011920928955f);
}

TEST(WireInput, RefusesHostileRecords) {
  const struct {
    std::string text;
    const char* what;
  } kBad[] = {
      {"", "expected 2 values"},
      {"abc", "number"},
      {"1,2,3,4", "expected 2 values"},
      {"1,2,3,x", "expected 2 values"},
      {"1", "expected 2 values"},
      {",1,2", "a time"},
      {"nan,1,2", "a time"},
      {"1e39,2", "number"},
      {"1,1e39", "number"},
      {"{", "JSON"},
      {"{}", "x: expected 2 values, got 0"},
      {R"({"x":[1]})", "got 1"},
      {R"({"x":[1,2,3]})", "got more"},
      {R"({"x":[1,"2"]})", "a list of numbers"},
      {R"({"x":[1,true]})", "a list of numbers"},
      {R"({"x":[1,[2]]})", "a list of numbers"},
      {R"({"x":[1,{}]})", "a list of numbers"},
      {R"({"x":1})", "a list of numbers"},
      {R"({"x":{"a":1}})", "a list of numbers"},
      {R"({"x":null})", "a list of numbers"},
      {R"({"x":[1,1e39]})", "float32"},
      {R"({"x":[1,1e400]})", "JSON"},
      {R"({"x":[1,NaN]})", "JSON"},
      {R"({"x":[1,2],"x":[1,2]})", "twice"},
      {R"({"x":[1,2],"t":"now"})", "seconds"},
      {R"({"x":[1,2],"t":null})", "seconds"},
      {R"({"x":[1,2],"t":[1]})", "seconds"},
      {R"({"x":[1,2],"seq":-1})", "integer"},
      {R"({"x":[1,2],"seq":1.0})", "integer"},
      {R"({"x":[1,2],"seq":18446744073709551616})", "integer"},
      {R"({"x":[1,2]} {"x":[1,2]})", "JSON"},
      {"{\"x\":[1,2],\"a\":\"\xff\"}", "JSON"},
      {"{\"a\":" + std::string(60000, '['), "levels"},
      {"{\"x\":" + std::string(60000, '['), "a list of numbers"},
  };
  for (const auto& bad : kBad) {
    const std::string why = FailureOf(bad.text, 2);
    EXPECT_NE(why.find(bad.what), std::string::npos) << bad.text.substr(0, 80) << "\n" << why;
  }
}

TEST(WireInput, MangledRecordsNeverThrow) {
  std::mt19937 bits(3);
  const std::string good = R"({"t": 12.5, "x": [1.5, null], "seq": 7, "n": {"a": [1, "b"]}})";
  for (int round = 0; round < 20000; ++round) {
    std::string text = good;
    for (int change = 0; change < 2; ++change) {
      text[bits() % text.size()] = static_cast<char>(bits());
    }
    InputRecord record;
    Fault fault;
    if (ParseInput(text, 2, &record, &fault) == Status::ok) {
      EXPECT_EQ(record.x.size(), 2u);
    } else {
      EXPECT_NE(fault.message[0], '\0');
    }
  }
}

TEST(WireOutput, EveryKeyAndExactFloats) {
  std::mt19937 bits(5);
  std::vector<float> y, x = {NAN, INFINITY, -0.0f};
  std::vector<std::string> y_names, x_names = {"a", "b\\c", "d\n"};
  for (int i = 0; i < 200; ++i) {
    y.push_back(std::bit_cast<float>(static_cast<uint32_t>(bits())));
    y_names.push_back("v" + std::to_string(i));
  }
  OutputRecord record;
  record.timestamp = 1700000000.125;
  record.seq = UINT64_MAX;
  record.epoch = (uint64_t{1} << 53) - 1;
  record.quality = 33;
  record.latency_us = 12.5;
  record.y = y;
  record.x = x;
  std::string text = "kept";
  WriteOutput(record, y_names, x_names, &text);
  ASSERT_EQ(text.substr(0, 4), "kept");
  const auto json = nlohmann::json::parse(text.substr(4));
  EXPECT_EQ(json.size(), 7u);
  EXPECT_EQ(json["timestamp"], 1700000000.125);
  EXPECT_EQ(json["seq"].get<uint64_t>(), UINT64_MAX);
  EXPECT_EQ(json["epoch"].get<uint64_t>(), record.epoch);
  EXPECT_EQ(json["quality"], 33);
  EXPECT_EQ(json["latency_us"], 12.5);
  EXPECT_TRUE(json["x"]["a"].is_null());
  EXPECT_TRUE(json["x"]["b\\c"].is_null());
  EXPECT_EQ(json["x"]["d\n"], 0.0);
  for (size_t i = 0; i < y.size(); ++i) {
    const auto& value = json["y"][y_names[i]];
    if (std::isfinite(y[i])) {
      EXPECT_EQ(std::bit_cast<uint32_t>(static_cast<float>(value.get<double>())),
                std::bit_cast<uint32_t>(y[i]));
    } else {
      EXPECT_TRUE(value.is_null());
    }
  }
}

}  // namespace
}  // namespace xst::formats
