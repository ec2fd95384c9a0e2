// The sources that read files and pipes.
#pragma once

#include <memory>
#include <string>

#include "apps/xstd/csv.h"
#include "apps/xstd/lines.h"
#include "sdk/model.h"
#include "sdk/stream/source.h"

namespace xstd {

// A recording: a CSV file with a header, played at `speed` times real time by its time column or
// the model's rate; 0: as fast as it goes. Goes on behind the stream's start_position(); ends with
// the file. A row that does not parse is an Error: a recording with a hole would give wrong states.
class ReplaySource : public xst::stream::Source {
 public:
  // Throws xst::Error: no such file, no header that fits, nothing to take the pace from.
  ReplaySource(const std::string& path, double speed, const xst::ModelInfo& model);
  ~ReplaySource() override;

  void Run(xst::stream::Stream& stream, std::stop_token stop) override;

 private:
  std::string path_;
  double speed_, rate_hz_;
  int fd_ = -1;
  std::unique_ptr<LineReader> lines_;
  std::unique_ptr<CsvColumns> columns_;
};

// Lines on standard input: CSV, with a header or without, or JSON as on the wire. Ends with it.
class StdinSource : public xst::stream::Source {
 public:
  void Run(xst::stream::Stream& stream, std::stop_token stop) override;
};

}  // namespace xstd
