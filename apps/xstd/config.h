// The daemon's configuration file (specification stream.md section 3).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "apps/xstd/config_ops.h"
#include "apps/xstd/config_outputs.h"
#include "apps/xstd/networks.h"
#include "formats/config_reader.h"
#include "sdk/device.h"
#include "sdk/stream/realtime.h"
#include "sdk/stream/stream.h"

namespace xstd {

// As the configuration names them, in the order of SourceConfig::Type.
inline constexpr std::initializer_list<const char*> kSourceTypes = {
    "replay", "pull", "sub", "stdin", "acked", "udp", "serial", "mqtt"};

struct SourceConfig {
  enum class Type : uint8_t { replay, pull, sub, stdin_lines, acked, udp, serial, mqtt };
  Type type = Type::replay;
  std::string file;                   // replay
  double speed = 1;                   // replay; 0: as fast as it goes
  std::string endpoint;               // pull, sub, acked, udp, mqtt
  std::string topic;                  // sub, mqtt
  std::string server_key;             // sub: file of the publisher's public key; empty: none
  std::vector<Network> allow;         // udp: who may send; empty: all
  std::string device;                 // serial
  uint32_t baud = 115200;             // serial
  std::string client_id;              // mqtt; empty: xstd-HOST-STREAM
  std::string username;               // mqtt
  std::string password_file, cafile;  // mqtt
  bool operator==(const SourceConfig&) const = default;
};

// What a stream does whose model becomes one of another architecture; with it also at a start,
// where the snapshot of another model is refused otherwise.
struct ReloadPolicy {
  uint32_t replay = 0;  // last inputs that lead the new model to where the stream stands; 0: reset
  bool operator==(const ReloadPolicy&) const = default;
};

// When samples are in order, on time and on the model's grid (sdk/stream/intake.h).
struct ClockRules {
  uint32_t order_window = 0;
  xst::stream::Resample resample = xst::stream::Resample::none;
  double stale_s = 0;          // 0: never stale
  std::string resample_place;  // FILE:LINE:COLUMN, for what only the model tells
  bool operator==(const ClockRules& o) const {
    return order_window == o.order_window && resample == o.resample && stale_s == o.stale_s;
  }
};

struct StreamConfig {
  std::string name;
  std::string model;
  xst::Device device;
  SourceConfig source;
  ClockRules clock;
  uint32_t queue = 1024;
  xst::stream::OnFull on_full = xst::stream::OnFull::block;
  std::optional<ReloadPolicy> on_reload;
  std::vector<xst::stream::AlarmRule> alarms;
  bool operator==(const StreamConfig&) const = default;
};

struct RealtimeConfig {
  bool lock_memory = false;
  xst::stream::ThreadOptions thread;  // of the step threads
  bool operator==(const RealtimeConfig&) const = default;
};

struct DaemonConfig {
  xst::zeromq::PubOptions publish;
  CurveConfig curve;
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
