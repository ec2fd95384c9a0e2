// `realtime` and `on_reload` in the daemon's configuration.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "apps/xstd/config.h"
#include "formats/status.h"

namespace xstd {
namespace {

DaemonConfig Parse(const std::string& top, const std::string& stream = "") {
  return ParseConfig(
      top + "streams:\n  - {name: a, model: m.xst, source: {type: stdin}" + stream + "}\n",
      "c.yaml", "");
}

TEST(ReloadConfig, IsRead) {
  const DaemonConfig plain = Parse("");
  EXPECT_FALSE(plain.realtime.lock_memory);
  EXPECT_EQ(plain.realtime.thread.priority, 0u);
  EXPECT_TRUE(plain.realtime.thread.cpus.empty());
  EXPECT_FALSE(plain.streams[0].on_reload);
  EXPECT_EQ(plain.streams[0], Parse("").streams[0]);
  const DaemonConfig all = Parse("realtime: {lock_memory: true, priority: 80, cpus: [2, 3]}\n",
                                 ", on_reload: {replay: 100}");
  EXPECT_TRUE(all.realtime.lock_memory);
  EXPECT_EQ(all.realtime.thread.priority, 80u);
  EXPECT_EQ(all.realtime.thread.cpus, (std::vector<int>{2, 3}));
  EXPECT_EQ(all.streams[0].on_reload->replay, 100u);
  EXPECT_NE(plain.streams[0], all.streams[0]);
}

TEST(ReloadConfig, ErrorsHaveTheirPlace) {
  const std::vector<std::pair<std::string, std::string>> bad = {
      {"realtime: {priority: 0}\n", "c.yaml:1:22: realtime.priority: expected"},
      {"realtime: {priority: 100}\n", "c.yaml:1:22: realtime.priority: expected"},
      {"realtime: {cpus: 2}\n", "c.yaml:1:18: realtime.cpus: expected a list"},
      {"realtime: {cpus: []}\n", "c.yaml:1:18: realtime.cpus: expected a list"},
      {"realtime: {cpus: [0, -1]}\n", "c.yaml:1:22: realtime.cpus: expected"},
      {"realtime: {nice: 1}\n", "c.yaml:1:12: realtime.nice: expected"}};
  for (const auto& [text, words] : bad) {
    try {
      Parse(text);
      ADD_FAILURE() << text;
    } catch (const xst::Error& e) {
      EXPECT_EQ(std::string(e.what()).rfind(words, 0), 0u) << e.what();
    }
  }
  EXPECT_THROW(Parse("", ", on_reload: {replay: -1}"), xst::Error);
  EXPECT_THROW(Parse("", ", on_reload: {keep: 1}"), xst::Error);
}

}  // namespace
}  // namespace xstd
