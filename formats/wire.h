// Records on the wire as JSON (spec stream.md section 4).
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "formats/status.h"

namespace xst::formats {

// One sensor sample as it arrives: JSON {"t", "x", "seq"} or a CSV line.
struct InputRecord {
  std::optional<double> t;  // seconds; absent: the arrival time counts
  std::optional<uint64_t> seq;
  std::vector<float> x;  // NaN where missing (null, empty field)
};

// Parses one message of `width` channels. A line starting with '{' is JSON, else CSV: either
// `width` values, or a time followed by `width` values. Reuses `out`. Hostile bytes give a Status
// and a Fault, never an exception.
Status ParseInput(std::string_view message, uint32_t width, InputRecord* out, Fault* fault);

struct OutputRecord {
  double timestamp = 0;  // seconds, the source's time
  uint64_t seq = 0, epoch = 0;
  uint32_t quality = 0;  // bits of spec stream.md section 2
  double latency_us = 0;
  double gap_s = 0;  // length of the gap before this sample; written only where there was one
  int64_t t_receive_ns = 0, t_publish_ns = 0;  // since 1970
  bool times = false;                          // in JSON: write these two
  std::span<const float> y, x;
};

// Appends one JSON object with all keys of the specification to `out`; a value that is not finite
// is null. Floats are written so that they read back to the same float32.
void WriteOutput(const OutputRecord& record, const std::vector<std::string>& y_names,
                 const std::vector<std::string>& x_names, std::string* out);

}  // namespace xst::formats
