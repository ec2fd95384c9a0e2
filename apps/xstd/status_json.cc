#include <algorithm>
#include <charconv>
#include <cmath>
#include <nlohmann/json.hpp>

#include "apps/xstd/status_text.h"
#include "formats/number.h"

namespace xstd {
namespace {

using Json = nlohmann::ordered_json;

std::string Dump(const Json& json) {
  return json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

Json Microseconds(const Durations& d) {
  return {{"p50", d.p50_s * 1e6},
          {"p99", d.p99_s * 1e6},
          {"p999", d.p999_s * 1e6},
          {"max", d.max_s * 1e6}};
}

Json Alarms(const StreamStatus& s) {
  Json all = Json::array();
  for (const AlarmStatus& a : s.alarms) {
    all.push_back({{"name", a.name},
                   {"output", a.output},
                   {"active", a.active},
                   {"since", a.since},
                   {"value", a.value}});
  }
  return all;
}

Json StreamJson(const StreamStatus& s) {
  Json counts;
  for (const StreamCounter& counter : kStreamCounters) counts[counter.name] = counter.get(s);
  Json json = {{"name", s.name},
               {"model", s.model},
               {"device", s.device},
               {"isa", s.isa},
               {"family", s.family},
               {"rate_hz", s.rate_hz},
               {"arch_hash", s.arch_hash},
               {"source_hash", s.source_hash},
               {"file_hash", s.file_hash},
               {"source", s.source},
               {"endpoint", s.endpoint},
               {"ended", s.ended},
               {"failed", s.failed},
               {"stale", s.stale},
               {"queue", {{"fill", s.queued}, {"capacity", s.queue}}},
               {"counts", std::move(counts)},
               {"step_us", Microseconds(s.step)},
               {"latency_us", Microseconds(s.latency)},
               {"last", nullptr},
               {"alarms", Alarms(s)}};
  if (s.has_last) {
    json["last"] = {
        {"timestamp", s.last_t}, {"seq", s.seq}, {"epoch", s.epoch}, {"quality", s.quality}};
  }
  return json;
}

Json ProcessJson(const DaemonStatus& status, bool healthy) {
  Json json = {
      {"version", status.version},         {"healthy", healthy},    {"uptime_s", status.uptime_s},
      {"start_time", status.start_time},   {"cpu_s", status.cpu_s}, {"rss_bytes", status.rss_bytes},
      {"publish", status.publish_endpoint}};
  for (const DaemonCounter& counter : kDaemonCounters) json[counter.name] = counter.get(status);
  return json;
}

Json Series(const std::vector<SeriesStatus>& list) {
  Json all = Json::array();
  for (const SeriesStatus& s : list) {
    Json one = {{"name", s.name}, {"unit", s.unit}, {"kind", s.kind}};
    if (s.of >= 0) one["of"] = s.of;
    if (s.horizon > 0) one["horizon"] = s.horizon;
    all.push_back(std::move(one));
  }
  return all;
}

// Short, for a picture: five digits.
void AppendShort(float value, std::string* out) {
  if (!std::isfinite(value)) {
    *out += "null";
    return;
  }
  char text[32];
  const auto end =
      std::to_chars(text, text + sizeof(text), value, std::chars_format::general, 5).ptr;
  out->append(text, end);
}

// [channel][point]
void AppendValues(const LiveBatch& batch, const std::vector<float>& values, std::string* out) {
  *out += '[';
  for (uint32_t channel = 0; channel < batch.channels; ++channel) {
    if (channel) *out += ',';
    *out += '[';
    for (size_t i = 0; i < batch.points.size(); ++i) {
      if (i) *out += ',';
      AppendShort(values[i * batch.channels + channel], out);
    }
    *out += ']';
  }
  *out += ']';
}

// A member of one number a point.
template <class F>
void AppendPoints(const LiveBatch& batch, const char* name, F get, std::string* out) {
  *out += std::string(",\"") + name + "\":[";
  for (size_t i = 0; i < batch.points.size(); ++i) {
    if (i) *out += ',';
    *out += std::to_string(get(batch.points[i]));
  }
  *out += ']';
}

}  // namespace

std::string StatusJson(const DaemonStatus& status, bool healthy) {
  Json json = ProcessJson(status, healthy);
  json["streams"] = Json::array();
  for (const StreamStatus& s : status.streams) json["streams"].push_back(StreamJson(s));
  return json.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
}

std::string SeriesJson(const StreamStatus& stream) {
  return Dump({{"name", stream.name},
               {"rate_hz", stream.rate_hz},
               {"inputs", Series(stream.inputs)},
               {"outputs", Series(stream.outputs)},
               {"quantiles", stream.quantiles},
               {"horizon", stream.horizon},
               {"every", stream.every}});
}

std::string PageStatusJson(const DaemonStatus& status, bool healthy, const StreamStatus& stream) {
  Json streams = Json::array();
  for (const StreamStatus& s : status.streams) {
    const bool alarm =
        std::any_of(s.alarms.begin(), s.alarms.end(), [](const auto& a) { return a.active; });
    streams.push_back({{"name", s.name}, {"alarm", alarm}, {"failed", s.failed}});
  }
  Json one = StreamJson(stream);
  one["step_bins"] = stream.step.bins;
  Json json = ProcessJson(status, healthy);
  json["first_bin"] = Durations::kFirst;
  json["streams"] = std::move(streams);
  json["stream"] = std::move(one);
  return Dump(json);
}

// {"first", "lost", "t0", "dt": [ms], "quality"?: […], "records"?: […], "low": [[…]], "high"?:
// [[…]]}
std::string PointsJson(const LiveBatch& batch) {
  std::string out = "{\"first\":" + std::to_string(batch.first);
  out += ",\"lost\":" + std::to_string(batch.lost);
  const double t0 = batch.points.front().t;
  out += ",\"t0\":";
  xst::formats::AppendNumber(t0, &out);
  out += ",\"dt\":[";
  bool any_quality = false, any_high = false;
  for (size_t i = 0; i < batch.points.size(); ++i) {
    if (i) out += ',';
    // A ten-thousandth of a millisecond: also the times of a fast source stay apart.
    xst::formats::AppendNumber(std::round((batch.points[i].t - t0) * 1e7) / 1e4, &out);
    any_quality |= batch.points[i].quality != 0;
    any_high |= batch.points[i].records > 1;
  }
  out += ']';
  if (any_quality)
    AppendPoints(
        batch, "quality", [](const auto& p) { return p.quality; }, &out);
  if (any_high)
    AppendPoints(
        batch, "records", [](const auto& p) { return p.records; }, &out);
  out += ",\"low\":";
  AppendValues(batch, batch.low, &out);
  if (any_high) {
    out += ",\"high\":";
    AppendValues(batch, batch.high, &out);
  }
  out += '}';
  return out;
}

}  // namespace xstd
