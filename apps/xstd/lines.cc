#include "apps/xstd/lines.h"

#include <poll.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "formats/status.h"

namespace xstd {

using xst::Error;
using xst::Status;

LineReader::LineReader(int fd, std::string what)
    : fd_(fd), what_(std::move(what)), buffer_(2 * kMaxLine) {}

// Appends what can be read; false at the end, or when stopped.
bool LineReader::Fill(const std::stop_token& stop, bool* stopped) {
  constexpr int kPollMs = 50;
  if (begin_ > 0) {
    std::memmove(buffer_.data(), buffer_.data() + begin_, end_ - begin_);
    end_ -= begin_;
    begin_ = 0;
  }
  while (!eof_) {
    if (stop.stop_requested()) {
      *stopped = true;
      return false;
    }
    pollfd ready{fd_, POLLIN, 0};
    if (poll(&ready, 1, kPollMs) != 1) continue;
    const ssize_t n = read(fd_, buffer_.data() + end_, buffer_.size() - end_);
    if (n > 0) {
      end_ += static_cast<size_t>(n);
      return true;
    }
    if (n == 0) eof_ = true;
    if (n < 0 && errno != EINTR && errno != EAGAIN) {
      throw Error(Status::io_error, what_ + ": expected to read lines, got " + strerror(errno));
    }
  }
  return false;
}

bool LineReader::AtEnd(const std::stop_token& stop) {
  bool stopped = false;
  return begin_ == end_ && !Fill(stop, &stopped) && !stopped;
}

LineReader::Result LineReader::Next(std::string_view* line, const std::stop_token& stop) {
  bool too_long = false, stopped = false;
  size_t searched = 0;
  for (;;) {
    const char* start = buffer_.data() + begin_;
    const auto* newline =
        static_cast<const char*>(memchr(start + searched, '\n', end_ - begin_ - searched));
    size_t length = end_ - begin_;
    if (newline) {
      length = static_cast<size_t>(newline - start);
    } else if (length > kMaxLine) {
      too_long = true;
      begin_ = end_;
      searched = 0;
      continue;
    } else {
      searched = length;
      if (Fill(stop, &stopped)) continue;
      if (stopped) return Result::stopped;
      if (length == 0 && !too_long) return Result::end;
      start = buffer_.data() + begin_;
    }
    ++number_;
    begin_ += length + (newline ? 1 : 0);
    if (too_long || length > kMaxLine) return Result::too_long;
    if (length > 0 && start[length - 1] == '\r') --length;
    *line = std::string_view(start, length);
    return Result::line;
  }
}

}  // namespace xstd
