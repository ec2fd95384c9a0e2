// Records as on the wire (specification stream.md section 4), offered to a stream.
#pragma once

#include <cstdint>
#include <string_view>

#include "formats/wire.h"
#include "sdk/stream/stream.h"

namespace xstd {

// For sources whose samples have left their sender: they are offered whatever is asked to stop.
class Records {
 public:
  explicit Records(xst::stream::Stream& stream)
      : stream_(stream), width_(stream.info().input_width) {}

  // One JSON or CSV record a line; empty lines are passed over, bad ones counted.
  void Take(std::string_view lines);

  static constexpr size_t kMaxBytes = 64 * 1024;

 private:
  void TakeLine(std::string_view line);

  xst::stream::Stream& stream_;
  const uint32_t width_;
  xst::formats::InputRecord record_;
};

}  // namespace xstd
