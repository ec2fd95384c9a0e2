#include "apps/xstd/config_sources.h"

#include <charconv>

#include "apps/xstd/config_parts.h"
#include "apps/xstd/networks.h"
#include "apps/xstd/serial_source.h"

namespace xstd {
namespace {

using xst::formats::MapReader;
using xst::formats::YamlNode;
using Type = SourceConfig::Type;

constexpr uint32_t kMaxWindow = 1024, kMaxBaud = 4000000;

std::string Path(MapReader* map, const char* key, const std::string& folder) {
  if (!map->Has(key)) return {};
  return ReadPath(map, key, folder);
}

void ReadAllowed(MapReader* map, SourceConfig* source) {
  const YamlNode* list = map->Take("allow");
  if (!list) return;
  if (list->kind != YamlNode::Kind::sequence || list->items.empty()) {
    map->Fail(*list, "allow", "a list of addresses, ADDRESS or ADDRESS/PREFIX", list->Describe());
  }
  for (const YamlNode& item : list->items) {
    Network network;
    if (item.kind != YamlNode::Kind::scalar || !ParseNetwork(item.text, &network)) {
      map->Fail(item, "allow", "ADDRESS or ADDRESS/PREFIX, as 10.0.0.0/8", item.Describe());
    }
    source->allow.push_back(network);
  }
}

void ReadUdp(MapReader* map, SourceConfig* source) {
  source->endpoint = ReadText(map, "endpoint");
  const YamlNode& endpoint = map->Require("endpoint");
  sockaddr_storage address{};
  socklen_t length = 0;
  if (!ParseAddress(source->endpoint, &address, &length)) {
    map->Fail(endpoint, "endpoint", "ADDRESS:PORT in numbers, as 127.0.0.1:9900",
              endpoint.Describe());
  }
  ReadAllowed(map, source);
  if (source->allow.empty() && !IsLoopback(reinterpret_cast<const sockaddr&>(address))) {
    map->Fail(endpoint, "endpoint",
              "a loopback address (127.0.0.1:PORT), or `allow: [ADDRESS/PREFIX]` beside it that "
              "says who may send",
              endpoint.Describe());
  }
}

void ReadSerial(MapReader* map, const std::string& folder, SourceConfig* source) {
  ReadText(map, "device");
  source->device = Path(map, "device", folder);
  if (map->Integer("baud", 1, kMaxBaud, &source->baud) && !IsBaudRate(source->baud)) {
    const YamlNode& baud = map->Require("baud");
    map->Fail(baud, "baud", "a speed of serial lines, as 9600 or 115200", baud.Describe());
  }
}

void ReadMqtt(MapReader* map, const std::string& folder, SourceConfig* source) {
  source->endpoint = ReadText(map, "endpoint");
  source->topic = ReadText(map, "topic");
  source->client_id = map->Has("client_id") ? ReadText(map, "client_id") : "";
  source->username = map->Has("username") ? ReadText(map, "username") : "";
  source->password_file = Path(map, "password_file", folder);
  source->cafile = Path(map, "cafile", folder);
  const YamlNode& endpoint = map->Require("endpoint");
  std::string host;
  int port = 0;
  const bool tls = !source->cafile.empty();
  if (!ParseMqttEndpoint(source->endpoint, tls, &host, &port)) {
    const bool has_login = source->endpoint.find('@') != std::string::npos;  // never shown
    map->Fail(
        endpoint, "endpoint", "mqtt://HOST or mqtt://HOST:PORT",
        has_login ? "one with an @ (give `username` and `password_file`)" : endpoint.Describe());
  }
  if (!source->password_file.empty() && source->username.empty()) {
    map->Fail(map->Require("password_file"), "password_file", "a `username` beside it", "none");
  }
  if (!source->username.empty() && !tls && !IsLoopbackHost(host)) {
    map->Fail(map->Require("username"), "username",
              "`cafile` beside it, so that nobody on the network reads the credentials", "none");
  }
}

}  // namespace

bool IsDeviceSource(Type type) {
  return type == Type::udp || type == Type::serial || type == Type::mqtt;
}

void ReadDeviceSource(MapReader* map, const std::string& folder, SourceConfig* source) {
  if (source->type == Type::udp) ReadUdp(map, source);
  if (source->type == Type::serial) ReadSerial(map, folder, source);
  if (source->type == Type::mqtt) ReadMqtt(map, folder, source);
}

bool WaitsForRoom(Type type) {
  return type != Type::sub && type != Type::udp && type != Type::serial;
}

ClockRules ReadClock(MapReader* stream) {
  ClockRules rules;
  if (!stream->Has("clock")) return rules;
  auto map = stream->Map("clock", false);
  map->Integer("order_window", 0, kMaxWindow, &rules.order_window);
  uint32_t resample = 0;
  if (map->Choice("resample", {"none", "hold", "linear"}, &resample)) {
    rules.resample = static_cast<xst::stream::Resample>(resample);
    const YamlNode& node = map->Require("resample");
    rules.resample_place =
        map->source().name + ":" + std::to_string(node.line) + ":" + std::to_string(node.column);
  }
  map->Positive("stale_s", &rules.stale_s);
  map->Finish();
  return rules;
}

bool ParseMqttEndpoint(const std::string& text, bool tls, std::string* host, int* port) {
  constexpr std::string_view kScheme = "mqtt://";
  if (text.rfind(kScheme, 0) != 0) return false;
  std::string rest = text.substr(kScheme.size());
  *port = tls ? 8883 : 1883;
  const size_t bracket = rest.rfind(']');
  const size_t colon = rest.rfind(':');
  if (colon != std::string::npos && (bracket == std::string::npos || colon > bracket)) {
    const char* end = rest.data() + rest.size();
    const auto parsed = std::from_chars(rest.data() + colon + 1, end, *port);
    if (parsed.ec != std::errc() || parsed.ptr != end || *port < 1 || *port > 65535) return false;
    rest.resize(colon);
  }
  if (rest.size() > 2 && rest.front() == '[' && rest.back() == ']') {
    rest = rest.substr(1, rest.size() - 2);
  } else if (rest.find_first_of("[]:/@ ") != std::string::npos) {
    return false;
  }
  *host = rest;
  return !rest.empty();
}

bool IsLoopbackHost(const std::string& host) {
  sockaddr_storage address{};
  socklen_t length = 0;
  const bool v6 = host.find(':') != std::string::npos;
  return ParseAddress((v6 ? "[" + host + "]" : host) + ":0", &address, &length) &&
         IsLoopback(reinterpret_cast<const sockaddr&>(address));
}

}  // namespace xstd
