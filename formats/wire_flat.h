// Output records on the wire as flatbuffers (wire.fbs).
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "formats/status.h"
#include "formats/wire.h"

namespace xst::formats {

struct OutputNames {
  std::vector<std::string> y, x;
};

// Appends the record to `out`, with the names if there are any.
void WriteOutputFlat(const OutputRecord& record, const std::vector<std::string>* y_names,
                     const std::vector<std::string>* x_names, std::string* out);

// What ParseOutputFlat finds.
struct FlatOutput {
  uint64_t seq = 0, epoch = 0;
  int64_t t_source = 0, t_receive = 0, t_publish = 0;  // ns
  uint32_t quality = 0;
  double latency_us = 0, gap_s = 0;
  std::vector<float> y, x;
  bool has_names = false;
  OutputNames names;  // as many as values
};

// Whether a payload says that it is such a record.
bool IsOutputFlat(std::span<const std::byte> payload);

// Hostile bytes give a Status and a Fault, never an exception; any alignment will do.
Status ParseOutputFlat(std::span<const std::byte> payload, FlatOutput* out, Fault* fault);

}  // namespace xst::formats
