#include "apps/xstd/config_ops.h"

#include <arpa/inet.h>

#include <charconv>
#include <string_view>

namespace xstd {

using xst::formats::MapReader;
using xst::formats::YamlNode;

namespace {

bool IsLoopback(const std::string& host) {
  in_addr v4{};
  in6_addr v6{};
  if (inet_pton(AF_INET, host.c_str(), &v4) == 1) return (ntohl(v4.s_addr) >> 24) == 127;
  return inet_pton(AF_INET6, host.c_str(), &v6) == 1 && IN6_IS_ADDR_LOOPBACK(&v6);
}

// "127.0.0.1:9873", "localhost:9873", "[::1]:9873"; the port may be *.
bool ParseEndpoint(std::string_view text, HttpConfig* http) {
  const size_t colon = text.rfind(':');
  if (colon == std::string_view::npos) return false;
  std::string_view host = text.substr(0, colon);
  const std::string_view port = text.substr(colon + 1);
  if (host.size() > 2 && host.front() == '[' && host.back() == ']') {
    host = host.substr(1, host.size() - 2);
  } else if (host.find(':') != std::string_view::npos) {
    return false;
  }
  // By number: what the name resolves to is not ours to say.
  http->host = host == "localhost" ? "127.0.0.1" : std::string(host);
  if (!IsLoopback(http->host)) return false;
  if (port == "*") return true;
  const char* const end = port.data() + port.size();
  const auto result = std::from_chars(port.data(), end, http->port);
  return result.ec == std::errc() && result.ptr == end;
}

}  // namespace

std::optional<HttpConfig> ReadHttp(MapReader* root) {
  auto map = root->Map("http", false);
  if (!map) return std::nullopt;
  HttpConfig http;
  const YamlNode& node = map->Require("endpoint");
  if (!node.IsString() || !ParseEndpoint(node.text, &http)) {
    map->Fail(node, "endpoint",
              "a loopback address and a port, as 127.0.0.1:9873 (the page is open to all who reach "
              "it)",
              node.Describe());
  }
  map->Finish();
  return http;
}

LogConfig ReadLog(MapReader* root) {
  LogConfig log;
  auto map = root->Map("log", false);
  if (!map) return log;
  uint32_t format = 0, level = static_cast<uint32_t>(log.level);
  map->Choice("format", {"text", "json"}, &format);
  map->Choice("level", {"debug", "info", "warn", "error"}, &level);
  map->Finish();
  log.format = static_cast<LogConfig::Format>(format);
  log.level = static_cast<LogConfig::Level>(level);
  return log;
}

}  // namespace xstd
