// The daemon's log on standard error: text, or one JSON object a line.
#pragma once

#include <set>
#include <string>

#include "apps/xstd/config_ops.h"

namespace xstd {

// Installs the default logger of spdlog. A message about one stream starts with its name, a colon
// and a blank; in JSON the name becomes "stream".
// Text: "xstd: LEVEL: MESSAGE"; JSON: {"time": RFC 3339, "level", "stream", "message"}.
void SetLog(const LogConfig& config);

// The names that count as streams from now on.
void SetLogStreams(const std::set<std::string>& names);

// A line that others wait for: as it is, whatever the level; in JSON the message of an object.
void Announce(const std::string& line);

// The last line before a failed end.
void LogFatal(const std::string& message);

}  // namespace xstd
