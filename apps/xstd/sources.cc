#include "apps/xstd/sources.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <condition_variable>
#include <cstring>
#include <mutex>
#include <vector>

#include "formats/wire.h"
#include "sdk/stream/records.h"
#include "sdk/stream/stream.h"

namespace xstd {

using xst::Error;
using xst::Fault;
using xst::Status;
using xst::stream::NowNs;
using xst::stream::SampleHead;
using xst::stream::Stream;

ReplaySource::ReplaySource(const std::string& path, double speed, const xst::ModelInfo& model)
    : path_(path), speed_(speed), rate_hz_(model.rate_hz) {
  fd_ = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd_ < 0) {
    throw Error(errno == ENOENT ? Status::not_found : Status::io_error,
                path + ": expected a CSV recording, got " + std::strerror(errno));
  }
  try {
    lines_ = std::make_unique<LineReader>(fd_, path);
    std::string_view header;
    const auto result = lines_->Next(&header, {});
    if (result == LineReader::Result::end) {
      throw Error(Status::truncated, path + ": expected a header line, got an empty file");
    }
    if (result == LineReader::Result::too_long) {
      throw Error(Status::corrupt, path + ": expected a header line of at most 64 KiB, got more");
    }
    columns_ = std::make_unique<CsvColumns>(header, model, path);
    if (speed > 0 && !columns_->has_time() && !(rate_hz_ > 0)) {
      throw Error(Status::invalid_argument, "source.speed: expected 0 (" + path +
                                                " has no time column and the model no rate), got " +
                                                std::to_string(speed));
    }
  } catch (...) {
    close(fd_);
    throw;
  }
}

ReplaySource::~ReplaySource() { close(fd_); }

void ReplaySource::Run(Stream& stream, std::stop_token stop) {
  using Result = LineReader::Result;
  using std::chrono::steady_clock;
  std::mutex mutex;
  std::condition_variable_any never;
  std::vector<float> x(stream.info().input_width);
  std::string_view line;
  uint64_t row = 0;
  bool playing = false;
  double first_t = 0;
  steady_clock::time_point start;
  for (;;) {
    const Result result = lines_->Next(&line, stop);
    if (stop.stop_requested() || result == Result::end || result == Result::stopped) return;
    // In a file of one column a blank line is a missing value, unless it is the last.
    if (result == Result::line && line.empty()) {
      if (columns_->count() > 1 || lines_->AtEnd(stop)) continue;
      line = {};
    }
    if (row++ < stream.start_position()) continue;
    SampleHead head;
    head.has_t = columns_->has_time() || rate_hz_ > 0;
    if (rate_hz_ > 0) head.t = static_cast<double>(row - 1) / rate_hz_;
    Fault fault;
    if (result == Result::too_long) {
      fault.Set(Status::corrupt, "expected at most 64 KiB, got more");
    } else {
      columns_->Parse(line, &head.t, x, &fault);
    }
    if (fault.status != Status::ok) {
      throw Error(fault.status,
                  path_ + ":" + std::to_string(lines_->number()) + ": " + fault.message);
    }
    if (speed_ > 0) {
      if (!playing) {
        playing = true;
        first_t = head.t;
        start = steady_clock::now();
      }
      constexpr double kLongestWait = 1e9;  // s; a time further off overflows the clock
      const std::chrono::duration<double> since(
          std::clamp((head.t - first_t) / speed_, -kLongestWait, kLongestWait));
      std::unique_lock lock(mutex);
      never.wait_until(lock, stop,
                       start + std::chrono::duration_cast<steady_clock::duration>(since),
                       [] { return false; });
      if (stop.stop_requested()) return;
    }
    head.position = row;
    head.receive_ns = NowNs();
    if (!stream.Offer(head, x, stop)) return;
  }
}

void StdinSource::Run(Stream& stream, std::stop_token stop) {
  using Result = LineReader::Result;
  const uint32_t width = stream.info().input_width;
  LineReader lines(STDIN_FILENO, "standard input");
  std::unique_ptr<CsvColumns> columns;
  std::vector<float> x(width);
  xst::formats::InputRecord record;
  std::string_view line;
  for (;;) {
    const Result result = lines.Next(&line, stop);
    if (result == Result::end || result == Result::stopped) return;
    const std::string where = "line " + std::to_string(lines.number()) + ": ";
    if (result == Result::too_long) {
      stream.Reject(where + "expected at most 64 KiB, got more");
      continue;
    }
    if (line.empty()) continue;
    const bool json = line.front() == '{';
    if (lines.number() == 1 && !json && !IsCsvData(line)) {
      columns = std::make_unique<CsvColumns>(line, stream.info(), "standard input");
      continue;
    }
    SampleHead head;
    Fault fault;
    Status status;
    if (columns && !json) {
      head.receive_ns = NowNs();
      head.has_t = columns->has_time();
      status = columns->Parse(line, &head.t, x, &fault);
    } else {
      status = xst::formats::ParseInput(line, width, &record, &fault);
      head = xst::stream::HeadOf(record);
      if (status == Status::ok) x = record.x;
    }
    if (status != Status::ok) {
      stream.Reject(where + fault.message);
      continue;
    }
    // Not stoppable: the line left its pipe, and the step goes on until the rings are empty.
    stream.Offer(head, x, {});
  }
}

}  // namespace xstd
