// Sources of devices and the clock rules as configuration.
#include <gtest/gtest.h>
#include <netinet/in.h>

#include <string>

#include "apps/xstd/config.h"
#include "apps/xstd/config_sources.h"
#include "formats/status.h"

namespace xstd {
namespace {

StreamConfig Parse(const std::string& source, const std::string& more = "") {
  return ParseConfig("streams: [{name: a, model: m, source: " + source + more + "}]", "d.yaml",
                     "/etc/x")
      .streams[0];
}

std::string ErrorOf(const std::string& source, const std::string& more = "") {
  try {
    Parse(source, more);
  } catch (const xst::Error& e) {
    return e.what();
  }
  return "no error";
}

TEST(XstdSourcesConfig, ReadsEveryKey) {
  const auto udp = Parse("{type: udp, endpoint: \"0.0.0.0:9900\", allow: [10.0.0.0/8, \"::1\"]}");
  EXPECT_EQ(udp.source.type, SourceConfig::Type::udp);
  EXPECT_EQ(udp.source.allow.size(), 2u);
  EXPECT_EQ(udp.on_full, xst::stream::OnFull::drop_oldest);
  const auto serial = Parse("{type: serial, device: /dev/ttyUSB0, baud: 9600}");
  EXPECT_EQ(serial.source.device, "/dev/ttyUSB0");
  EXPECT_EQ(serial.source.baud, 9600u);
  EXPECT_EQ(serial.on_full, xst::stream::OnFull::drop_oldest);
  const auto mqtt = Parse(
      "{type: mqtt, endpoint: \"mqtt://h:1884\", topic: s/ecg, client_id: me, username: u, "
      "password_file: pw, cafile: ca.pem}");
  EXPECT_EQ(mqtt.source.topic, "s/ecg");
  EXPECT_EQ(mqtt.source.client_id, "me");
  EXPECT_EQ(mqtt.source.password_file, "/etc/x/pw");
  EXPECT_EQ(mqtt.source.cafile, "/etc/x/ca.pem");
  EXPECT_EQ(mqtt.on_full, xst::stream::OnFull::block);
  const auto clock =
      Parse("{type: stdin}", ", clock: {order_window: 8, resample: linear, stale_s: 0.5}").clock;
  EXPECT_EQ(clock.order_window, 8u);
  EXPECT_EQ(clock.resample, xst::stream::Resample::linear);
  EXPECT_EQ(clock.stale_s, 0.5);
  EXPECT_EQ(clock.resample_place.rfind("d.yaml:1:", 0), 0u);
  EXPECT_EQ(Parse("{type: stdin}").clock.order_window, 0u);
}

TEST(XstdSourcesConfig, ErrorsNamePlaceExpectedAndGot) {
  const struct {
    const char *source, *message;
  } rows[] = {
      {"{type: udp}", "d.yaml:1:39: source.endpoint: expected this key"},
      {"{type: udp, endpoint: here}", "d.yaml:1:61: source.endpoint: expected ADDRESS:PORT"},
      {"{type: udp, endpoint: \"h:1\"}", "source.endpoint: expected ADDRESS:PORT"},
      {"{type: udp, endpoint: \"127.0.0.1:70000\"}", "source.endpoint: expected ADDRESS:PORT"},
      {"{type: udp, endpoint: \"0.0.0.0:1\"}",
       "d.yaml:1:61: source.endpoint: expected a loopback address (127.0.0.1:PORT), or `allow"},
      {"{type: udp, endpoint: \"127.0.0.1:1\", allow: []}", "source.allow: expected a list"},
      {"{type: udp, endpoint: \"127.0.0.1:1\", allow: [10.0.0.0/33]}",
       "source.allow: expected ADDRESS or ADDRESS/PREFIX"},
      {"{type: udp, endpoint: \"127.0.0.1:1\", topic: x}", "source.topic: expected a known key"},
      {"{type: serial}", "source.device: expected this key"},
      {"{type: serial, device: d, baud: 9601}", "d.yaml:1:71: source.baud: expected a speed of"},
      {"{type: serial, device: d, baud: fast}", "source.baud: expected an integer"},
      {"{type: mqtt, endpoint: \"mqtt://h\"}", "source.topic: expected this key"},
      {"{type: mqtt, endpoint: \"tcp://h\", topic: t}", "source.endpoint: expected mqtt://HOST"},
      {"{type: mqtt, endpoint: \"mqtt://h:x\", topic: t}", "source.endpoint: expected mqtt://HOST"},
      {"{type: mqtt, endpoint: \"mqtt://u:p@h\", topic: t}", "source.endpoint: expected mqtt://"},
      {"{type: mqtt, endpoint: \"mqtt://h\", topic: t, username: u}",
       "source.username: expected `cafile` beside it"},
      {"{type: mqtt, endpoint: \"mqtt://127.0.0.1\", topic: t, password_file: p}",
       "source.password_file: expected a `username`"},
  };
  for (const auto& row : rows) {
    EXPECT_NE(ErrorOf(row.source).find(row.message), std::string::npos)
        << row.source << "\n  gave: " << ErrorOf(row.source);
  }
  const struct {
    const char *clock, *message;
  } clocks[] = {
      {"{order_window: -1}", "clock.order_window: expected an integer from 0 to 1024"},
      {"{resample: cubic}", "clock.resample: expected one of none, hold, linear"},
      {"{stale_s: 0}", "clock.stale_s: expected"},
      {"{window: 3}", "clock.window: expected a known key"},
      {"5", "clock: expected a map"},
  };
  for (const auto& row : clocks) {
    const std::string error = ErrorOf("{type: stdin}", std::string(", clock: ") + row.clock);
    EXPECT_NE(error.find(row.message), std::string::npos) << row.clock << "\n  gave: " << error;
    EXPECT_EQ(error.rfind("d.yaml:1:", 0), 0u) << error;
  }
}

TEST(XstdSourcesConfig, MqttEndpoints) {
  std::string host;
  int port = 0;
  EXPECT_TRUE(ParseMqttEndpoint("mqtt://a.b", false, &host, &port));
  EXPECT_EQ(host + std::to_string(port), "a.b1883");
  EXPECT_TRUE(ParseMqttEndpoint("mqtt://a", true, &host, &port));
  EXPECT_EQ(port, 8883);
  EXPECT_TRUE(ParseMqttEndpoint("mqtt://[::1]:99", false, &host, &port));
  EXPECT_EQ(host + std::to_string(port), "::199");
  EXPECT_TRUE(IsLoopbackHost("localhost"));
  EXPECT_TRUE(IsLoopbackHost("::1"));
  EXPECT_TRUE(IsLoopbackHost("127.4.5.6"));
  EXPECT_FALSE(IsLoopbackHost("10.0.0.1"));
  EXPECT_FALSE(IsLoopbackHost("localhost.example.org"));
}

TEST(Networks, HoldWhatTheirPrefixSays) {
  const auto in = [](const char* address, const char* network) {
    sockaddr_storage a{};
    socklen_t length = 0;
    Network n;
    EXPECT_TRUE(ParseAddress(address, &a, &length));
    EXPECT_TRUE(ParseNetwork(network, &n));
    return InNetworks(reinterpret_cast<const sockaddr&>(a), {n});
  };
  EXPECT_TRUE(in("10.1.2.3:1", "10.0.0.0/8"));
  EXPECT_FALSE(in("11.1.2.3:1", "10.0.0.0/8"));
  EXPECT_TRUE(in("192.168.5.130:1", "192.168.5.128/25"));
  EXPECT_FALSE(in("192.168.5.127:1", "192.168.5.128/25"));
  EXPECT_TRUE(in("1.2.3.4:1", "0.0.0.0/0"));
  EXPECT_TRUE(in("1.2.3.4:1", "1.2.3.4"));
  EXPECT_FALSE(in("1.2.3.5:1", "1.2.3.4"));
  EXPECT_TRUE(in("[fd00::1]:1", "fd00::/8"));
  EXPECT_FALSE(in("[::1]:1", "0.0.0.0/0"));
  Network n;
  for (const char* bad : {"", "10.0.0/8", "10.0.0.0/", "10.0.0.0/-1", "x", "::1/129"}) {
    EXPECT_FALSE(ParseNetwork(bad, &n)) << bad;
  }
}

}  // namespace
}  // namespace xstd
