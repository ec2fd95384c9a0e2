#include "apps/xstd/config.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <utility>

#include "apps/xstd/config_acked.h"
#include "apps/xstd/config_parts.h"
#include "apps/xstd/config_sources.h"
#include "formats/config_reader.h"
#include "formats/status.h"

namespace xstd {
namespace {

using xst::Error;
using xst::Status;
using xst::formats::ConfigSource;
using xst::formats::FailAt;
using xst::formats::MapReader;
using xst::formats::YamlNode;

constexpr size_t kMaxBytes = 1 << 20;
constexpr uint32_t kMaxQueue = 1 << 20, kMaxStreams = 4096;

struct File {
  const ConfigSource& source;
  std::string folder;
  bool has_curve = false;

  std::string Path(const std::string& path) const {
    return (std::filesystem::path(folder) / path).lexically_normal().string();
  }
};

SourceConfig ReadSource(const File& file, const YamlNode& node) {
  using Type = SourceConfig::Type;
  MapReader map(file.source, node, "source");
  SourceConfig source;
  map.Require("type");
  uint32_t type = 0;
  map.Choice("type", kSourceTypes, &type);
  source.type = static_cast<Type>(type);
  if (source.type == Type::replay) {
    source.file = file.Path(ReadText(&map, "file"));
    if (map.Number("speed", &source.speed) && source.speed < 0) {
      const YamlNode& speed = map.Require("speed");
      map.Fail(speed, "speed", "a number of at least 0", speed.Describe());
    }
  } else if (IsDeviceSource(source.type)) {
    ReadDeviceSource(&map, file.folder, &source);
  } else if (source.type != Type::stdin_lines) {
    source.endpoint = ReadText(&map, "endpoint");
    if (source.type == Type::sub) map.String("topic", &source.topic);
    if (source.type == Type::sub && map.Has("server_key")) {
      source.server_key = ReadPath(&map, "server_key", file.folder);
      if (!file.has_curve) {
        map.Fail(map.Require("server_key"), "server_key", "a curve section with a secret of ours",
                 "none");
      }
    }
  }
  map.Finish();
  return source;
}

StreamConfig ReadStream(const File& file, const YamlNode& node, const std::string& path) {
  MapReader map(file.source, node, path);
  StreamConfig stream;
  stream.name = ReadName(&map);
  stream.model = file.Path(ReadText(&map, "model"));
  stream.source = ReadSource(file, map.Require("source"));
  map.Integer("queue", 2, kMaxQueue, &stream.queue);
  stream.clock = ReadClock(&map);
  uint32_t on_full = WaitsForRoom(stream.source.type) ? 0 : 1;
  map.Choice("on_full", {"block", "drop_oldest"}, &on_full);
  stream.on_full = static_cast<xst::stream::OnFull>(on_full);
  stream.on_reload = ReadOnReload(&map);
  std::string device;
  if (map.String("device", &device)) {
    xst::Fault fault;
    if (xst::Device::Parse(device, &stream.device, &fault) != Status::ok) {
      FailAt(file.source.name, map.Require("device"), path + "." + fault.message);
    }
  }
  ReadAlarms(&map, &stream.alarms);
  map.Finish();
  return stream;
}

std::vector<StreamConfig> ReadStreams(const File& file, MapReader* root) {
  const YamlNode& list = root->Require("streams");
  if (list.kind != YamlNode::Kind::sequence || list.items.empty() ||
      list.items.size() > kMaxStreams) {
    root->Fail(list, "streams", "a list of 1 to " + std::to_string(kMaxStreams) + " streams",
               list.Describe());
  }
  std::vector<StreamConfig> streams;
  bool has_stdin = false;
  for (const YamlNode& item : list.items) {
    const std::string path = "streams[" + std::to_string(streams.size()) + "]";
    StreamConfig stream = ReadStream(file, item, path);
    const bool taken = std::any_of(streams.begin(), streams.end(),
                                   [&](const StreamConfig& s) { return s.name == stream.name; });
    if (taken) {
      FailAt(file.source.name, item,
             path + ".name: expected one of its own, got \"" + stream.name + "\" again");
    }
    CheckAcked(file.source, item, path, stream, root->Has("state_dir"));
    const bool is_stdin = stream.source.type == SourceConfig::Type::stdin_lines;
    if (is_stdin && has_stdin) {
      FailAt(file.source.name, item, path + ".source: expected one stdin in all, got a second");
    }
    has_stdin |= is_stdin;
    streams.push_back(std::move(stream));
  }
  return streams;
}

// A stream's topic is not one of what is published beside the streams.
void CheckTopics(const File& file, const YamlNode& list, const DaemonConfig& config) {
  const auto& streams = config.streams;
  const bool alarms = std::any_of(streams.begin(), streams.end(),
                                  [](const StreamConfig& s) { return !s.alarms.empty(); });
  for (size_t i = 0; i < streams.size(); ++i) {
    const bool taken = (streams[i].name == "_xstd" && config.publish.heartbeat_s > 0) ||
                       (streams[i].name == "alarm" && alarms);
    if (!taken) continue;
    FailAt(file.source.name, list.items[i],
           "streams[" + std::to_string(i) + "].name: expected one that heartbeats (_xstd) and " +
               "alarms (alarm) leave free, got \"" + streams[i].name + "\"");
  }
}

}  // namespace

DaemonConfig ParseConfig(const std::string& text, const std::string& name,
                         const std::string& folder) {
  std::vector<std::string> remarks;
  const ConfigSource source{name, &remarks};
  const YamlNode node = xst::formats::ParseYaml(text, name);
  MapReader root(source, node, "");
  DaemonConfig config;
  ReadPublish(&root, &config.publish);
  ReadCurve(&root, folder, &config.curve);
  const File file{source, folder, !config.curve.secret.empty()};
  config.http = ReadHttp(&root);
  config.log = ReadLog(&root);
  if (root.Has("state_dir")) config.state_dir = file.Path(ReadText(&root, "state_dir"));
  config.realtime = ReadRealtime(&root);
  config.streams = ReadStreams(file, &root);
  CheckTopics(file, root.Require("streams"), config);
  root.Finish();
  if (!remarks.empty()) throw Error(Status::invalid_config, remarks.front());
  return config;
}

DaemonConfig ReadConfig(const std::string& path) {
  std::error_code error;
  if (std::filesystem::is_directory(path, error)) {
    throw Error(Status::io_error, path + ": expected a configuration file, got a folder");
  }
  std::ifstream file(path, std::ios::binary);
  if (!file) {
    throw Error(errno == ENOENT ? Status::not_found : Status::io_error,
                path + ": expected a configuration file, got " + std::strerror(errno));
  }
  std::string text(kMaxBytes + 1, '\0');
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  text.resize(static_cast<size_t>(file.gcount()));
  return ParseConfig(text, path, std::filesystem::path(path).parent_path().string());
}

}  // namespace xstd
