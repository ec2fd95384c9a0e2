// The daemon's configuration file (specification stream.md section 3).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "apps/xstd/config_ops.h"
#include "formats/config_reader.h"
#include "sdk/device.h"
#include "sdk/stream/realtime.h"
#include "sdk/stream/stream.h"

namespace xstd {

struct SourceConfig {
  enum class Type : uint8_t { replay, pull, sub, stdin_lines, acked };
  Type type = Type::replay;
  std::string file;      // replay
  double speed = 1;      // replay; 0: as fast as it goes
  std::string endpoint;  // pull, sub, acked
  std::string topic;     // sub
  bool operator==(const SourceConfig&) const = default;
};

// What a stream does whose model becomes one of another architecture; with it also at a start,
// where the snapshot of another model is refused otherwise.
struct ReloadPolicy {
  uint32_t replay = 0;  // last inputs that lead the new model to where the stream stands; 0: reset
  bool operator==(const ReloadPolicy&) const = default;
};

struct StreamConfig {
  std::string name;
  std::string model;
  xst::Device device;
  SourceConfig source;
  uint32_t queue = 1024;
  xst::stream::OnFull on_full = xst::stream::OnFull::block;
  std::optional<ReloadPolicy> on_reload;
  bool operator==(const StreamConfig&) const = default;
};

struct RealtimeConfig {
  bool lock_memory = false;
  xst::stream::ThreadOptions thread;  // of the step threads
  bool operator==(const RealtimeConfig&) const = default;
};

struct DaemonConfig {
  std::string publish_endpoint = "tcp://127.0.0.1:9872";
  std::optional<HttpConfig> http;
  LogConfig log;
  std::string state_dir;  // empty: no snapshots
  RealtimeConfig realtime;
  std::vector<StreamConfig> streams;
};

// realtime: {lock_memory: BOOL, priority: 1..99, cpus: [INTEGER…]}
RealtimeConfig ReadRealtime(xst::formats::MapReader* root);
// on_reload: {replay: COUNT}
std::optional<ReloadPolicy> ReadOnReload(xst::formats::MapReader* stream);

// Reads and checks the file; relative paths in it are relative to its folder. Throws xst::Error:
// "FILE:LINE:COLUMN: KEY: expected …, got …".
DaemonConfig ReadConfig(const std::string& path);

// The same for text; `name` stands for the file in messages, `folder` for its folder.
DaemonConfig ParseConfig(const std::string& text, const std::string& name,
                         const std::string& folder);

}  // namespace xstd
