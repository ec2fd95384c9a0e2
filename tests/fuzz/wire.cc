// Messages to the daemon: a clean error, or a record of the right width; as an output record it
// reads back to the same values.
#include "formats/wire.h"

#include <cmath>
#include <cstring>
#include <nlohmann/json.hpp>

#include "tests/fuzz/target.h"

namespace {

using xst::fuzz::Require;

void ReadsBack(const nlohmann::json& json, const std::vector<std::string>& names,
               std::span<const float> values) {
  Require(json.size() == values.size());
  for (size_t i = 0; i < values.size(); ++i) {
    const auto& got = json.at(names[i]);
    Require(got.is_null() ? !std::isfinite(values[i]) : got.get<float>() == values[i]);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const uint32_t width = 1 + data[0] % 4;
  // On the heap, so that a read behind it is seen.
  const std::vector<char> message(data + 1, data + size);
  static xst::formats::InputRecord record;  // reused, as sources do
  xst::Fault fault;
  const auto status =
      xst::formats::ParseInput({message.data(), message.size()}, width, &record, &fault);
  if (status != xst::Status::ok) {
    Require(fault.status == status && fault.message[0] != '\0');
    return 0;
  }
  Require(record.x.size() == width && (!record.t || std::isfinite(*record.t)));
  const std::vector<std::string> x_names = {"a", "b \"\\\n", "c", "d"}, y_names = {"y"};
  xst::formats::OutputRecord out;
  out.timestamp = record.t.value_or(0);
  out.seq = record.seq.value_or(0);
  out.quality = width;
  out.gap_s = out.timestamp;
  out.x = record.x;
  out.y = std::span(record.x).first(1);
  std::string text;
  WriteOutput(out, y_names, x_names, &text);
  const auto json = nlohmann::json::parse(text);
  Require(json.at("timestamp").get<double>() == out.timestamp);
  Require(json.at("seq").get<uint64_t>() == out.seq);
  ReadsBack(json.at("x"), x_names, out.x);
  ReadsBack(json.at("y"), y_names, out.y);
  return 0;
}
