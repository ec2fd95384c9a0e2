#include <gtest/gtest.h>

#include <string>
#include <utility>

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
  EXPECT_EQ(c.publish.endpoint, "tcp://127.0.0.1:9872");
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
      {"publish: {encoding: xml}", "d.yaml:1:21: publish.encoding: expected one of json, flatbuffer"},
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

constexpr char kOutputs[] = R"(
publish: {encoding: flatbuffer, times: true, snapshot: "ipc://s", heartbeat_s: 2.5}
curve: {secret: keys/me.secret, clients: /keys/clients}
streams:
  - name: a
    model: m
    source: {type: sub, endpoint: "tcp://h:1", server_key: h.public}
    alarms:
      - {name: high, output: hr, above: 120, clear: 110, for_s: 3}
      - {name: low, output: hr, below: 40}
)";

TEST(XstdConfig, ReadsOutputsAlarmsAndKeys) {
  const DaemonConfig c = Parse(kOutputs);
  EXPECT_EQ(c.publish.endpoint, "tcp://127.0.0.1:9872");
  EXPECT_EQ(c.publish.encoding, xst::zeromq::PubOptions::Encoding::flatbuffer);
  EXPECT_TRUE(c.publish.times);
  EXPECT_EQ(c.publish.snapshot, "ipc://s");
  EXPECT_EQ(c.publish.heartbeat_s, 2.5);
  EXPECT_EQ(c.curve.secret, "/etc/x/keys/me.secret");
  EXPECT_EQ(c.curve.clients, "/keys/clients");
  EXPECT_EQ(c.streams[0].source.server_key, "/etc/x/h.public");
  const auto& alarms = c.streams[0].alarms;
  ASSERT_EQ(alarms.size(), 2u);
  EXPECT_EQ(alarms[0].name, "high");
  EXPECT_EQ(alarms[0].output, "hr");
  EXPECT_TRUE(alarms[0].above);
  EXPECT_EQ(alarms[0].threshold, 120);
  EXPECT_EQ(alarms[0].clear, 110);
  EXPECT_EQ(alarms[0].for_s, 3);
  EXPECT_EQ(alarms[0].place, "d.yaml:9:30: streams[0].alarms[0].");
  EXPECT_FALSE(alarms[1].above);
  EXPECT_EQ(alarms[1].clear, 40);
}

TEST(XstdConfig, WithoutOutputKeysNothingIsOn) {
  const DaemonConfig c = Parse("streams: [{name: _xstd, model: m, source: {type: stdin}}]");
  EXPECT_EQ(c.publish.encoding, xst::zeromq::PubOptions::Encoding::json);
  EXPECT_FALSE(c.publish.times);
  EXPECT_EQ(c.publish.snapshot, "");
  EXPECT_EQ(c.publish.heartbeat_s, 0);
  EXPECT_EQ(c.curve.secret, "");
}

std::string AlarmConfig(const std::string& alarm) {
  return "streams: [{name: a, model: m, source: {type: stdin}, alarms: [" + alarm + "]}]";
}

TEST(XstdConfig, ErrorsOfOutputsNamePlaceExpectedAndGot) {
  const std::string one = "\nstreams: [{name: a, model: m, source: {type: stdin}}]";
  const std::string high = "{name: a, output: y, above: 1}";
  const std::pair<std::string, const char*> rows[] = {
      {"publish: {times: 1}" + one, "d.yaml:1:18: publish.times: expected"},
      {"publish: {snapshot: 1}" + one, "d.yaml:1:21: publish.snapshot: expected a string"},
      {"publish: {heartbeat_s: 0}" + one, "d.yaml:1:24: publish.heartbeat_s: expected"},
      {"publish: {heartbeat_s: 1e9}" + one, "heartbeat_s: expected a number of at most 86400"},
      {"curve: {secret: s}" + one, "d.yaml:1:8: curve.clients: expected this key"},
      {"curve: {clients: s}" + one, "d.yaml:1:8: curve.secret: expected this key"},
      {"curve: {secret: s, clients: c, x: 1}" + one, "d.yaml:1:32: curve.x: expected a known key"},
      {"streams: [{name: a, model: m, source: {type: sub, endpoint: e, server_key: k}}]",
       "d.yaml:1:76: source.server_key: expected a curve section with a secret of ours, got none"},
      {"streams: [{name: a, model: m, source: {type: pull, endpoint: e, server_key: k}}]",
       "source.server_key: expected a known key"},
      {"streams: [{name: a, model: m, source: {type: stdin}, alarms: 1}]",
       "d.yaml:1:62: streams[0].alarms: expected a list of at most 256 alarms"},
      {AlarmConfig("1"), "d.yaml:1:63: streams[0].alarms[0]: expected a map"},
      {AlarmConfig("{output: y, above: 1}"), "streams[0].alarms[0].name: expected this key"},
      {AlarmConfig("{name: a b}"), "d.yaml:1:70: streams[0].alarms[0].name: expected 1 to 64"},
      {AlarmConfig("{name: a, above: 1}"), "streams[0].alarms[0].output: expected this key"},
      {AlarmConfig("{name: a, output: y}"), "d.yaml:1:63: streams[0].alarms[0].above: expected one "
                                            "of above and below, got none"},
      {AlarmConfig("{name: a, output: y, above: 1, below: 1}"), "above and below, got both"},
      {AlarmConfig("{name: a, output: y, above: x}"), "above: expected a finite number"},
      {AlarmConfig("{name: a, output: y, above: 1, clear: 2}"),
       "d.yaml:1:101: streams[0].alarms[0].clear: expected a number of at most `above`, got 2"},
      {AlarmConfig("{name: a, output: y, below: 1, clear: 0}"),
       "streams[0].alarms[0].clear: expected a number of at least `below`, got 0"},
      {AlarmConfig("{name: a, output: y, above: 1, for_s: -1}"), "for_s: expected a number of at"},
      {AlarmConfig("{name: a, output: y, above: 1, beep: true}"), "beep: expected a known key"},
      {AlarmConfig(high + ", " + high),
       "streams[0].alarms[1].name: expected one of its own, got \"a\" again"},
      {"publish: {heartbeat_s: 1}\nstreams: [{name: _xstd, model: m, source: {type: stdin}}]",
       "d.yaml:2:11: streams[0].name: expected one that heartbeats (_xstd) and alarms (alarm) "
       "leave free, got \"_xstd\""},
      {"streams: [{name: alarm, model: m, source: {type: stdin}, alarms: [" + high + "]}]",
       "streams[0].name: expected one that"},
  };
  for (const auto& [text, message] : rows) {
    EXPECT_NE(ErrorOf(text).find(message), std::string::npos)
        << text << "\n  gave: " << ErrorOf(text) << "\n  not:  " << message;
  }
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
