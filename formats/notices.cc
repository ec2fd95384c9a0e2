#include "formats/notices.h"

#include <cmath>
#include <nlohmann/json.hpp>
#include <type_traits>
#include <utility>

#include "formats/number.h"

namespace xst::formats {
namespace {

using nlohmann::json;
using nlohmann::ordered_json;

std::string Text(const ordered_json& object) {
  // A model's names are any bytes.
  return object.dump(-1, ' ', false, ordered_json::error_handler_t::replace);
}

// The double that prints as the float32 does.
double Shortest(float value) {
  std::string text;
  AppendNumber(value, &text);
  double number = value;
  ParseDouble(text, &number);
  return number;
}

template <class T, class Is>
bool Typed(const json& object, const char* key, Is is, T* value) {
  const auto at = object.find(key);
  if (at == object.end() || !((*at).*is)()) return false;
  *value = at->get<T>();
  return true;
}

template <class T>
bool Number(const json& object, const char* key, T* value) {
  return Typed(object, key, std::is_integral_v<T> ? &json::is_number_unsigned : &json::is_number,
               value);
}

}  // namespace

std::string WriteAlarm(const AlarmRecord& alarm) {
  ordered_json object = {{"timestamp", alarm.timestamp},
                         {"seq", alarm.seq},
                         {"epoch", alarm.epoch},
                         {"name", alarm.name},
                         {"output", alarm.output},
                         {"active", alarm.active},
                         {"value", nullptr}};
  if (std::isfinite(alarm.value)) object["value"] = Shortest(alarm.value);
  return Text(object);
}

std::string WriteHeartbeat(const Heartbeat& heartbeat) {
  ordered_json streams = ordered_json::object();
  for (const auto& stream : heartbeat.streams) {
    streams[stream.name] = {{"epoch", stream.epoch}, {"seq", stream.seq}};
  }
  ordered_json object = {{"timestamp", heartbeat.timestamp}, {"streams", std::move(streams)}};
  if (heartbeat.bye) object["bye"] = true;
  return Text(object);
}

bool ParseAlarm(const char* payload, size_t size, AlarmRecord* out) {
  const json object = json::parse(payload, payload + size, nullptr, false);
  if (!object.is_object()) return false;
  out->value = NAN;
  Number(object, "value", &out->value);
  return Number(object, "timestamp", &out->timestamp) && Number(object, "seq", &out->seq) &&
         Number(object, "epoch", &out->epoch) &&
         Typed(object, "name", &json::is_string, &out->name) &&
         Typed(object, "output", &json::is_string, &out->output) &&
         Typed(object, "active", &json::is_boolean, &out->active);
}

bool ParseHeartbeat(const char* payload, size_t size, Heartbeat* out) {
  const json object = json::parse(payload, payload + size, nullptr, false);
  if (!object.is_object() || !Number(object, "timestamp", &out->timestamp)) return false;
  out->bye = false;
  Typed(object, "bye", &json::is_boolean, &out->bye);
  out->streams.clear();
  const auto streams = object.find("streams");
  if (streams == object.end() || !streams->is_object()) return false;
  for (const auto& [name, stream] : streams->items()) {
    Heartbeat::Stream s;
    s.name = name;
    if (!stream.is_object() || !Number(stream, "epoch", &s.epoch) ||
        !Number(stream, "seq", &s.seq)) {
      return false;
    }
    out->streams.push_back(std::move(s));
  }
  return true;
}

}  // namespace xst::formats
