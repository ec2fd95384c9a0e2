// The sections `realtime` and `on_reload` of the configuration.
#include <sched.h>

#include "apps/xstd/config.h"

namespace xstd {

using xst::formats::MapReader;
using xst::formats::YamlNode;

namespace {

constexpr uint32_t kMaxReplay = 1 << 20;

int ReadCpu(const MapReader& map, const YamlNode& node) {
  int64_t cpu = -1;
  if (!node.IsInteger(&cpu) || cpu < 0 || cpu >= CPU_SETSIZE) {
    map.Fail(node, "cpus", "numbers of CPUs from 0 on", node.Describe());
  }
  return static_cast<int>(cpu);
}

}  // namespace

RealtimeConfig ReadRealtime(MapReader* root) {
  RealtimeConfig config;
  auto map = root->Map("realtime", false);
  if (!map) return config;
  map->Bool("lock_memory", &config.lock_memory);
  map->Integer("priority", 1, 99, &config.thread.priority);
  if (const YamlNode* cpus = map->Take("cpus")) {
    if (cpus->kind != YamlNode::Kind::sequence || cpus->items.empty()) {
      map->Fail(*cpus, "cpus", "a list of CPUs", cpus->Describe());
    }
    for (const YamlNode& cpu : cpus->items) config.thread.cpus.push_back(ReadCpu(*map, cpu));
  }
  map->Finish();
  return config;
}

std::optional<ReloadPolicy> ReadOnReload(MapReader* stream) {
  auto map = stream->Map("on_reload", false);
  if (!map) return {};
  ReloadPolicy policy;
  map->Integer("replay", 0, kMaxReplay, &policy.replay);
  map->Finish();
  return policy;
}

}  // namespace xstd
