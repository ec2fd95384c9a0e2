// The daemon's configuration file (specification stream.md section 3).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "apps/xstd/config_outputs.h"
#include "sdk/device.h"
#include "sdk/stream/stream.h"

namespace xstd {

struct SourceConfig {
  enum class Type : uint8_t { replay, pull, sub, stdin_lines };
  Type type = Type::replay;
  std::string file;        // replay
  double speed = 1;        // replay; 0: as fast as it goes
  std::string endpoint;    // pull, sub
  std::string topic;       // sub
  std::string server_key;  // sub: file of the publisher's public key; empty: none
};

struct StreamConfig {
  std::string name;
  std::string model;
  xst::Device device;
  SourceConfig source;
  uint32_t queue = 1024;
  xst::stream::OnFull on_full = xst::stream::OnFull::block;
  std::vector<xst::stream::AlarmRule> alarms;
};

struct DaemonConfig {
  xst::zeromq::PubOptions publish;
  CurveConfig curve;
  bool has_http = false;  // accepted, not served yet
  std::string state_dir;  // empty: no snapshots
  std::vector<StreamConfig> streams;
};

// Reads and checks the file; relative paths in it are relative to its folder. Throws xst::Error:
// "FILE:LINE:COLUMN: KEY: expected …, got …".
DaemonConfig ReadConfig(const std::string& path);

// The same for text; `name` stands for the file in messages, `folder` for its folder.
DaemonConfig ParseConfig(const std::string& text, const std::string& name,
                         const std::string& folder);

}  // namespace xstd
