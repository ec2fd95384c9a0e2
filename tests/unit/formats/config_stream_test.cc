#include <gtest/gtest.h>

#include "formats/config_yaml.h"
#include "formats/model_file.h"
#include "formats/status.h"
#include "tests/unit/formats/support.h"

namespace xst::formats {
namespace {

const char kStack[] = "mlstm_block: {}\nembedding_dim: 64\n";

StreamConfig Parse(const std::string& stream) {
  return *ParseConfig(kStack + std::string("stream:\n") + stream, "c.yaml", nullptr).stream;
}

TEST(ConfigStream, Forecaster) {
  const std::string path = std::string(XST_TEST_DATA) + "/stream/forecaster/config.yaml";
  const StreamConfig s = *ParseConfig(test::ReadText(path), path, nullptr).stream;
  EXPECT_EQ(s.rate_hz, 100);
  ASSERT_EQ(s.inputs.size(), 1u);
  EXPECT_EQ(s.inputs[0].unit, "mV");
  EXPECT_EQ(s.inputs[0].mean, -0.165);
  EXPECT_EQ(s.inputs[0].std, 0.6);
  ASSERT_EQ(s.outputs.size(), 4u);
  EXPECT_EQ(s.outputs[1].horizon, 18u);
  EXPECT_EQ(s.outputs[1].of, 0);
  EXPECT_TRUE(s.outputs[1].residual);
  EXPECT_EQ(s.outputs[2].kind, OutputKind::surprise);
  EXPECT_EQ(s.outputs[2].of, 0);
  EXPECT_EQ(s.HeadRows(), 5u);
  EXPECT_EQ(s.ValueNames(), (std::vector<std::string>{"next", "next.sigma", "ahead", "ahead.sigma",
                                                      "surprise", "beat"}));
}

TEST(ConfigStream, Defaults) {
  const StreamConfig s = Parse("  rate_hz: 0\n  inputs: [{name: a}]\n  outputs: [{raw: r}]\n");
  EXPECT_EQ(s.inputs[0].mean, 0);
  EXPECT_EQ(s.inputs[0].std, 1);
  EXPECT_EQ(s.inputs[0].missing, Missing::hold);
  EXPECT_TRUE(s.encoder);
  EXPECT_TRUE(s.head);
  EXPECT_EQ(s.gap_policy, GapPolicy::hold);
  EXPECT_EQ(s.gap_max_s, 0.2);
  EXPECT_EQ(s.gap_then, GapThen::reset);
  EXPECT_EQ(s.warmup, 0u);
}

TEST(ConfigStream, AllKindsAndGaps) {
  const StreamConfig s = Parse(
      "  rate_hz: 360\n"
      "  inputs:\n  - {name: a, unit: mV, missing: zero}\n  - {name: b, missing: mean}\n"
      "  outputs:\n"
      "  - {surprise: s, of: g}\n"  // may name a later output
      "  - {value: v, unit: K, horizon: 3, of: b, residual: true}\n"
      "  - {gaussian: g, of: a}\n"
      "  - {softmax: [p, q, r]}\n"
      "  - {sigmoid: z}\n"
      "  gaps: {policy: skip, max_s: 1, then: skip}\n  warmup: 9\n");
  EXPECT_EQ(s.outputs[0].of, 2);
  EXPECT_EQ(s.outputs[1].of, 1);
  EXPECT_EQ(s.outputs[1].horizon, 3u);
  EXPECT_EQ(s.HeadRows(), 1u + 2 + 3 + 1);
  EXPECT_EQ(s.gap_policy, GapPolicy::skip);
  EXPECT_EQ(s.gap_then, GapThen::skip);
  EXPECT_EQ(s.gap_max_s, 1);
  EXPECT_EQ(s.warmup, 9u);
}

struct Bad {
  const char* stream;
  const char* where;
  const char* what;
};

TEST(ConfigStream, BadFieldsAreNamedWithLineAndColumn) {
  const std::string head = "  inputs: [{name: a}]\n  outputs: [{raw: r}]\n";
  const std::string rate = "  rate_hz: 1\n";
  const std::string inputs = "  rate_hz: 1\n  inputs: [{name: a}]\n";
  const struct {
    std::string stream;
    const char* where;
    const char* what;
  } kBad[] = {
      {head, "4:3: ", "stream.rate_hz: expected this key"},
      {"  rate_hz: -1\n" + head, "4:12: ", "0 or more"},
      {"  rate_hz: fast\n" + head, "4:12: ", "a finite number"},
      {rate + "  outputs: [{raw: r}]\n", "4:3: ", "stream.inputs: expected this key"},
      {rate + "  inputs: []\n  outputs: [{raw: r}]\n", "5:11: ", "at least one"},
      {rate + "  inputs: {name: a}\n  outputs: [{raw: r}]\n", "5:11: ", "a list"},
      {rate + "  inputs: [{unit: a}]\n  outputs: [{raw: r}]\n", "5:12: ", "inputs[0].name"},
      {rate + "  inputs: [{name: a}, {name: a}]\n  outputs: [{raw: r}]\n", "5:30: ", "used once"},
      {rate + "  inputs: [{name: a, std: 0}]\n  outputs: [{raw: r}]\n", "5:27: ", "positive"},
      {rate + "  inputs: [{name: a, std: .inf}]\n  outputs: [{raw: r}]\n", "5:27: ", "finite"},
      {rate + "  inputs: [{name: a, mean: x}]\n  outputs: [{raw: r}]\n", "5:28: ", "finite"},
      {rate + "  inputs: [{name: a, missing: drop}]\n  outputs: [{raw: r}]\n", "5:31: ", "one of"},
      {rate + "  inputs: [{name: 1}]\n  outputs: [{raw: r}]\n", "5:19: ", "a string"},
      {rate + "  inputs: [{name: \"a,b\"}]\n  outputs: [{raw: r}]\n", "5:19: ", "commas"},
      {rate + "  inputs: [{name: a, min: 1}]\n  outputs: [{raw: r}]\n", "5:22: ", "known key"},
      {inputs, "4:3: ", "outputs: expected this key with a head"},
      {inputs + "  outputs: []\n", "6:12: ", "at least one"},
      {inputs + "  outputs: [{}]\n", "6:13: ", "value, gaussian"},
      {inputs + "  outputs: [{raw: r, sigmoid: s}]\n", "6:19: ", "one kind"},
      {inputs + "  outputs: [{raw: r}, {raw: r}]\n", "6:23: ", "used once"},
      {inputs + "  outputs: [{gaussian: g}, {raw: g.sigma}]\n", "6:28: ", "used once"},
      {inputs + "  outputs: [{raw: r, of: a}]\n", "6:22: ", "known key"},
      {inputs + "  outputs: [{value: v, of: b}]\n", "6:28: ", "the name of an input"},
      {inputs + "  outputs: [{value: v, horizon: 0}]\n", "6:33: ", "from 1"},
      {inputs + "  outputs: [{value: v, residual: true}]\n", "6:34: ", "`of` with it"},
      {inputs + "  outputs: [{surprise: s, of: a}, {raw: r}]\n", "6:31: ", "gaussian"},
      {inputs + "  outputs: [{surprise: s}, {raw: r}]\n", "6:13: ", "of: expected this key"},
      {inputs + "  outputs: [{surprise: s, of: g}, {gaussian: g}]\n", "6:31: ", "gaussian"},
      {inputs + "  outputs: [{softmax: []}]\n", "6:23: ", "an empty list"},
      {inputs + "  outputs: [{softmax: [a, a]}]\n", "6:13: ", "used once"},
      {inputs + "  head: none\n  outputs: [{raw: r}]\n", "7:12: ", "none with head none"},
      {inputs + "  head: none\n  encoder: none\n", "7:12: ", "64 inputs"},
      {inputs + "  head: mlp\n", "6:9: ", "one of linear, none"},
      {inputs + "  outputs: [{raw: r}]\n  gaps: {max_s: -1}\n", "7:17: ", "0 or more"},
      {inputs + "  outputs: [{raw: r}]\n  gaps: {policy: reset}\n", "7:18: ", "one of hold, skip"},
      {inputs + "  outputs: [{raw: r}]\n  gaps: {maxs: 1}\n", "7:10: ", "known key"},
      {inputs + "  outputs: [{raw: r}]\n  warmup: -1\n", "7:11: ", "an integer"},
      {inputs + "  outputs: [{raw: r}]\n  rate: 1\n", "7:3: ", "known key"},
  };
  for (const auto& bad : kBad) {
    try {
      Parse(bad.stream);
      ADD_FAILURE() << "accepted " << bad.stream;
    } catch (const Error& e) {
      const std::string why = e.what();
      EXPECT_EQ(e.code(), Status::invalid_config);
      EXPECT_EQ(why.rfind(std::string("c.yaml:") + bad.where, 0), 0u) << bad.stream << why;
      EXPECT_NE(why.find(bad.what), std::string::npos) << bad.stream << why;
    }
  }
}

TEST(ConfigStream, BelongsToABlockStack) {
  const char* lm = "mlstm_block: {}\nvocab_size: 3\nstream: {rate_hz: 1, inputs: [{name: a}]}\n";
  EXPECT_THROW(ParseConfig(lm, "c.yaml", nullptr), Error);
}

TEST(ConfigStream, ArchHashSeesTheWrapper) {
  const std::string base = kStack + std::string("stream:\n  rate_hz: 1\n  inputs: [{name: a}]\n");
  const auto hash = [&](const char* rest) {
    return ArchHash(ParseConfig(base + rest, "c", nullptr));
  };
  const Hash128 plain = hash("  outputs: [{gaussian: g, of: a}, {surprise: s, of: g}]\n");
  EXPECT_EQ(plain, hash("  outputs: [{gaussian: g, of: a}, {surprise: s, of: g}]\n"));
  EXPECT_FALSE(plain ==
               hash("  outputs: [{gaussian: g, of: a, horizon: 2}, {surprise: s, of: g}]\n"));
  EXPECT_FALSE(plain == hash("  outputs: [{gaussian: g, of: a}]\n"));
}

}  // namespace
}  // namespace xst::formats
