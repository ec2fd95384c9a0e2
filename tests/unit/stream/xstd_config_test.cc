#include <gtest/gtest.h>

#include <string>

#include "apps/xstd/config.h"
#include "formats/status.h"

namespace xstd {
namespace {

DaemonConfig Parse(const std::string& text) { return ParseConfig(text, "d.yaml", "/etc/x"); }

std::string ErrorOf(const std::string& text) {
  try {
    Parse(text);
  } catch (const xst::Error& e) {
    return e.what();
  }
  return "no error";
}

constexpr char kExample[] = R"(
publish: {endpoint: "tcp://127.0.0.1:9872", encoding: json}
http: {endpoint: "127.0.0.1:9873"}
state_dir: /var/lib/xstd
streams:
  - name: ecg
    model: ecg.xst
    device: cpu
    source: {type: replay, file: ecg.csv, speed: 0.5}
    queue: 64
    on_full: drop_oldest
  - {name: b, model: /m/b.xst, source: {type: pull, endpoint: "tcp://127.0.0.1:9871"}}
  - {name: c, model: c.xst, source: {type: sub, endpoint: "tcp://h:1", topic: "x/"}}
  - {name: d, model: c.xst, source: {type: stdin}}
)";

TEST(XstdConfig, ReadsTheWholeExample) {
  const DaemonConfig c = Parse(kExample);
  EXPECT_EQ(c.publish_endpoint, "tcp://127.0.0.1:9872");
  ASSERT_TRUE(c.http);
  EXPECT_EQ(c.http->host, "127.0.0.1");
  EXPECT_EQ(c.http->port, 9873);
  EXPECT_EQ(c.state_dir, "/var/lib/xstd");
  ASSERT_EQ(c.streams.size(), 4u);
  EXPECT_EQ(c.streams[0].name, "ecg");
  EXPECT_EQ(c.streams[0].model, "/etc/x/ecg.xst");
  EXPECT_EQ(c.streams[0].source.type, SourceConfig::Type::replay);
  EXPECT_EQ(c.streams[0].source.file, "/etc/x/ecg.csv");
  EXPECT_EQ(c.streams[0].source.speed, 0.5);
  EXPECT_EQ(c.streams[0].queue, 64u);
  EXPECT_EQ(c.streams[0].on_full, xst::stream::OnFull::drop_oldest);
  EXPECT_EQ(c.streams[1].model, "/m/b.xst");
  EXPECT_EQ(c.streams[1].source.endpoint, "tcp://127.0.0.1:9871");
  EXPECT_EQ(c.streams[1].queue, 1024u);
  EXPECT_EQ(c.streams[1].on_full, xst::stream::OnFull::block);
  EXPECT_EQ(c.streams[2].source.topic, "x/");
  EXPECT_EQ(c.streams[2].on_full, xst::stream::OnFull::drop_oldest);
  EXPECT_EQ(c.streams[3].source.type, SourceConfig::Type::stdin_lines);
}

struct Bad {
  const char* text;
  const char* message;
};

TEST(XstdConfig, ErrorsNamePlaceExpectedAndGot) {
  const std::string stream = "streams: [{name: a, model: m, source: {type: stdin}}]\n";
  const Bad rows[] = {
      {"", "d.yaml:1:1: configuration: expected a map"},
      {"[]", "d.yaml:1:1: configuration: expected a map"},
      {"state_dir: /x", "d.yaml:1:1: streams: expected this key, got none"},
      {"streams: []", "d.yaml:1:10: streams: expected a list of 1 to 4096 streams"},
      {"streams: 5", "d.yaml:1:10: streams: expected a list of 1 to 4096 streams, got"},
      {"port: 1\nstreams: [{name: a, model: m, source: {type: stdin}}]",
       "d.yaml:1:1: port: expected a known key"},
      {"_port: 1\nstreams: [{name: a, model: m, source: {type: stdin}}]", "d.yaml:1:1: _port"},
      {"publish: {endpoint: e, hwm: 3}", "d.yaml:1:24: publish.hwm: expected a known key"},
      {"publish: {encoding: xml}", "d.yaml:1:21: publish.encoding: expected one of json"},
      {"publish: [1]", "d.yaml:1:10: publish: expected a map"},
      {"http: {port: 1}", "http.endpoint: expected this key"},
      {"streams:\n  - name: a\n    model: m\n    source: {type: stdin}\n    sauce: 1\n",
       "d.yaml:5:5: streams[0].sauce: expected a known key"},
      {"streams: [{name: a b}]", "d.yaml:1:18: streams[0].name: expected 1 to 64 of the"},
      {"streams: [{name: a, model: [1]}]", "d.yaml:1:28: streams[0].model: expected a string"},
      {"streams: [{name: a}]", "d.yaml:1:11: streams[0].model: expected this key"},
      {"streams: [{model: a}]", "d.yaml:1:11: streams[0].name: expected this key"},
      {"streams: [{name: a, model: m}]", "d.yaml:1:11: streams[0].source: expected this key"},
      {"streams: [{name: a, model: m, source: {type: kafka}}]",
       "d.yaml:1:46: source.type: expected one of replay, pull, sub, stdin"},
      {"streams: [{name: a, model: m, source: {file: x}}]", "source.type: expected this key"},
      {"streams: [{name: a, model: m, source: {type: replay}}]", "source.file: expected this key"},
      {"streams: [{name: a, model: m, source: {type: pull}}]", "source.endpoint: expected this"},
      {"streams: [{name: a, model: m, source: {type: pull, endpoint: e, file: x}}]",
       "source.file: expected a known key"},
      {"streams: [{name: a, model: m, source: {type: replay, file: x, speed: fast}}]",
       "d.yaml:1:70: source.speed: expected a finite number"},
      {"streams: [{name: a, model: m, source: {type: replay, file: x, speed: -1}}]",
       "source.speed: expected a number of at least 0"},
      {"streams: [{name: a, model: m, source: {type: replay, file: x, speed: .inf}}]",
       "source.speed: expected a finite number"},
      {"streams: [{name: a, model: m, source: {type: replay, file: x, speed: \"1\"}}]",
       "source.speed: expected a finite number"},
      {"streams: [{name: a, model: m, source: {type: stdin}, queue: 1}]",
       "streams[0].queue: expected an integer from 2 to 1048576"},
      {"streams: [{name: a, model: m, source: {type: stdin}, queue: 2.5}]", "queue: expected an"},
      {"streams: [{name: a, model: m, source: {type: stdin}, on_full: wait}]",
       "on_full: expected one of block, drop_oldest"},
      {"streams: [{name: a, model: m, source: {type: stdin}, device: tpu}]", "d.yaml:1:62: "},
      {"state_dir: x\nstate_dir: y", "d.yaml:2:1: "},
      {"streams: [", "d.yaml:"},
      {"a: b: c", "d.yaml:1:5: "},
  };
  for (const Bad& row : rows) {
    EXPECT_NE(ErrorOf(row.text).find(row.message), std::string::npos)
        << row.text << "\n  gave: " << ErrorOf(row.text) << "\n  not:  " << row.message;
  }
  EXPECT_EQ(ErrorOf(stream), "no error");
}

TEST(XstdConfig, NamesAndStandardInputAreTakenOnce) {
  const std::string a = "{name: a, model: m, source: {type: stdin}}";
  const std::string b = "{name: b, model: m, source: {type: stdin}}";
  const std::string a2 = "{name: a, model: m, source: {type: pull, endpoint: e}}";
  EXPECT_NE(ErrorOf("streams: [" + a + ", " + a2 + "]").find("name: expected one of its own"),
            std::string::npos);
  EXPECT_NE(ErrorOf("streams: [" + a + ", " + b + "]").find("expected one stdin in all"),
            std::string::npos);
}

TEST(XstdConfig, FilesThatAreNone) {
  EXPECT_THROW(ReadConfig("/nonexistent/x.yaml"), xst::Error);
  EXPECT_THROW(ReadConfig("/tmp"), xst::Error);
}

}  // namespace
}  // namespace xstd
