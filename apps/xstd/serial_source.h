// Samples from a serial line.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>
#include <vector>

#include "sdk/stream/source.h"

namespace xstd {

// Whether `baud` is a speed of serial lines here.
bool IsBaudRate(uint32_t baud);

// Records, one a line, at 8N1. A device that is not there or goes away is waited for: said once,
// opened again when it is back. What comes before the first line end after opening may be half a
// record and is passed over.
class SerialSource : public xst::stream::Source {
 public:
  // Opens the device if it is there. Throws xst::Error: it is none, or not for us.
  SerialSource(std::string device, uint32_t baud);
  ~SerialSource() override;

  void Run(xst::stream::Stream& stream, std::stop_token stop) override;
  xst::stream::SourceCounts counts() const override;

 private:
  bool Open();
  void Close();
  bool Read();  // false: the device is gone
  void TakeLines(xst::stream::Stream& stream);

  const std::string device_;
  const uint32_t baud_;
  int fd_ = -1;
  bool was_open_ = false;
  std::string why_;  // the device could not be opened, or is gone
  bool at_line_start_ = false;
  std::vector<char> buffer_;
  size_t size_ = 0;
  std::atomic<uint64_t> reconnects_{0};
};

}  // namespace xstd
