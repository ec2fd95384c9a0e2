// The configuration of how the daemon is watched: `http:` and `log:`.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "formats/config_reader.h"

namespace xstd {

// http: {endpoint: "127.0.0.1:9873"}; metrics, status and the live page, for this machine only.
struct HttpConfig {
  std::string host;   // a loopback address
  uint16_t port = 0;  // 0: any free one
  bool operator==(const HttpConfig&) const = default;
};

// log: {format: text, level: info}
struct LogConfig {
  enum class Format : uint8_t { text, json };
  enum class Level : uint8_t { debug, info, warn, error };
  Format format = Format::text;
  Level level = Level::info;
  bool operator==(const LogConfig&) const = default;
};

// Throw xst::Error with name, line and column. Without the key: no server; the defaults.
std::optional<HttpConfig> ReadHttp(xst::formats::MapReader* root);
LogConfig ReadLog(xst::formats::MapReader* root);

}  // namespace xstd
