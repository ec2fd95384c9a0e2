#include "formats/yaml.h"

#include <gtest/gtest.h>

#include <random>

#include "formats/config_yaml.h"
#include "formats/status.h"
#include "tests/unit/formats/support.h"

namespace xst::formats {
namespace {

std::string FailureOf(const std::string& text) {
  try {
    ParseYaml(text, "y");
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), Status::invalid_config);
    return e.what();
  }
  return "accepted";
}

TEST(Yaml, KeepsPlaces) {
  const YamlNode root = ParseYaml("a: 1\nb:\n  - x\n  - {c: ~}\n", "y");
  ASSERT_EQ(root.keys.size(), 2u);
  const YamlNode& list = root.items[1];
  EXPECT_EQ(list.items[0].line, 3);
  EXPECT_EQ(list.items[0].column, 5);
  EXPECT_EQ(list.items[1].items[0].kind, YamlNode::Kind::null);
}

TEST(Yaml, RefusesWhatCanHideOrRepeat) {
  EXPECT_EQ(FailureOf("a: &x 1\n"), "y:1:4: expected no anchor, got one");
  EXPECT_EQ(FailureOf("a: *x\n").substr(0, 6), "y:1:4:");
  EXPECT_EQ(FailureOf("a: !!str x\n").substr(0, 21), "y:1:4: expected no ta");
  EXPECT_EQ(FailureOf("a: !local {}\n").substr(0, 6), "y:1:4:");
  EXPECT_EQ(FailureOf("a: 1\nb: 2\na: 3\n").substr(0, 6), "y:3:1:");
  EXPECT_EQ(FailureOf("a: 1\n---\nb: 1\n").substr(0, 6), "y:3:1:");
  EXPECT_NE(FailureOf("[a]: 1\n"), "accepted");
  EXPECT_NE(FailureOf("{a: 1\n"), "accepted");
  EXPECT_NE(FailureOf("a: \xff\n"), "accepted");
  EXPECT_NE(FailureOf(std::string("a: \0b\n", 6)), "accepted");
}

TEST(Yaml, LimitsDepthSizeAndKeys) {
  const auto nested = [](size_t n) { return std::string(n, '[') + std::string(n, ']'); };
  EXPECT_EQ(FailureOf(nested(17)).substr(0, 7), "y:1:17:");
  EXPECT_EQ(FailureOf(nested(16)), "accepted");
  EXPECT_NE(FailureOf(std::string((1 << 20) + 1, '#')), "accepted");
  std::string keys;
  for (int i = 0; i < 257; ++i) keys += std::to_string(i) + ": 1\n";
  EXPECT_EQ(FailureOf(keys).substr(0, 6), "y:257:");
  for (const char* piece : {"[", "{", "- ", "? ", "{a: ", "a: ", "&a ", "\"", "|\n", "%", "[[]"}) {
    std::string text;
    while (text.size() < (1u << 20) - 8) text += piece;
    EXPECT_THROW(ParseConfig(text, "y", nullptr), Error) << piece;
  }
}

// Any mangled configuration is an Error or a configuration, never anything else.
TEST(Yaml, MangledConfigurationsAreRefusedOrValid) {
  std::mt19937 bits(7);
  const char kBytes[] = "{}[]:,-&*!|>'\"%@`#?\n\t 0";
  for (const std::string& folder : test::VectorCases()) {
    const std::string path = test::ConfigOf(folder), good = test::ReadText(path);
    for (int round = 0; round < 150; ++round) {
      std::string text = good;
      for (int change = 0; change < 3; ++change) {
        const size_t at = bits() % text.size();
        const char byte = kBytes[bits() % (sizeof kBytes - 1)];
        if (bits() % 2) {
          text[at] = byte;
        } else {
          text.insert(at, 1, byte);
        }
      }
      try {
        ParseConfig(text, path, nullptr);
      } catch (const Error& e) {
        EXPECT_NE(std::string(e.what()), "");
      }
    }
  }
}

}  // namespace
}  // namespace xst::formats
