#include "apps/xstd/config_outputs.h"

#include <algorithm>
#include <utility>

#include "apps/xstd/config_parts.h"

namespace xstd {

using xst::formats::FailAt;
using xst::formats::MapReader;
using xst::formats::PlaceOf;
using xst::formats::YamlNode;
using xst::stream::AlarmRule;

namespace {

constexpr size_t kMaxAlarms = 256;

AlarmRule ReadAlarm(MapReader map) {
  AlarmRule rule;
  rule.name = ReadName(&map);
  rule.output = ReadText(&map, "output");
  const YamlNode& output = map.Require("output");
  rule.place = PlaceOf(map.source().name, output) + ": " + map.PathOf("");
  const bool above = map.Number("above", &rule.threshold);
  double below = 0;
  if (map.Number("below", &below) == above) {
    map.Fail(map.place(), "above", "one of above and below", above ? "both" : "none");
  }
  rule.above = above;
  if (!above) rule.threshold = below;
  rule.clear = rule.threshold;
  map.Number("clear", &rule.clear);
  if (above ? rule.clear > rule.threshold : rule.clear < rule.threshold) {
    const YamlNode& clear = map.Require("clear");
    map.Fail(clear, "clear", above ? "a number of at most `above`" : "a number of at least `below`",
             clear.Describe());
  }
  if (map.Number("for_s", &rule.for_s) && rule.for_s < 0) {
    const YamlNode& for_s = map.Require("for_s");
    map.Fail(for_s, "for_s", "a number of at least 0", for_s.Describe());
  }
  map.Finish();
  return rule;
}

}  // namespace

void ReadPublish(MapReader* map, xst::zeromq::PubOptions* publish) {
  auto section = map->Map("publish", false);
  if (!section) return;
  constexpr double kLongest = 86400;
  section->String("endpoint", &publish->endpoint);
  uint32_t encoding = 0;
  section->Choice("encoding", {"json", "flatbuffer"}, &encoding);
  publish->encoding = static_cast<xst::zeromq::PubOptions::Encoding>(encoding);
  section->Bool("times", &publish->times);
  if (section->Has("snapshot")) publish->snapshot = ReadText(&*section, "snapshot");
  if (section->Positive("heartbeat_s", &publish->heartbeat_s) && publish->heartbeat_s > kLongest) {
    const YamlNode& heartbeat = section->Require("heartbeat_s");
    section->Fail(heartbeat, "heartbeat_s", "a number of at most 86400", heartbeat.Describe());
  }
  section->Finish();
}

void ReadCurve(MapReader* map, const std::string& folder, CurveConfig* curve) {
  auto section = map->Map("curve", false);
  if (!section) return;
  curve->secret = ReadPath(&*section, "secret", folder);
  curve->clients = ReadPath(&*section, "clients", folder);
  section->Finish();
}

void ReadAlarms(MapReader* map, std::vector<AlarmRule>* alarms) {
  const YamlNode* list = map->Take("alarms");
  if (!list) return;
  if (list->kind != YamlNode::Kind::sequence || list->items.size() > kMaxAlarms) {
    map->Fail(*list, "alarms", "a list of at most " + std::to_string(kMaxAlarms) + " alarms",
              list->Describe());
  }
  for (const YamlNode& item : list->items) {
    const std::string path = map->PathOf("alarms[" + std::to_string(alarms->size()) + "]");
    AlarmRule rule = ReadAlarm(MapReader(map->source(), item, path));
    if (std::any_of(alarms->begin(), alarms->end(),
                    [&](const AlarmRule& other) { return other.name == rule.name; })) {
      FailAt(map->source().name, item,
             path + ".name: expected one of its own, got \"" + rule.name + "\" again");
    }
    alarms->push_back(std::move(rule));
  }
}

}  // namespace xstd
