// Records as on the wire (specification stream.md section 4), offered to a stream.
#pragma once

#include <cstdint>
#include <string_view>

#include "formats/wire.h"
#include "sdk/stream/stream.h"

namespace xst::stream {

// Received now, with the time and sequence number that the record carries.
SampleHead HeadOf(const formats::InputRecord& record);

// For sources whose samples have left their sender: they are offered whatever is asked to stop.
class Records {
 public:
  explicit Records(Stream& stream) : stream_(stream), width_(stream.info().input_width) {}

  // One JSON or CSV record; a bad one is counted.
  void Take(std::string_view record);
  // One a line; empty lines are passed over.
  void TakeLines(std::string_view lines);

  static constexpr size_t kMaxBytes = 64 * 1024;

 private:
  Stream& stream_;
  const uint32_t width_;
  formats::InputRecord record_;
};

}  // namespace xst::stream
