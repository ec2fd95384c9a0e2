// Lines of a file or a pipe, of bounded length.
#pragma once

#include <cstdint>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

namespace xstd {

class LineReader {
 public:
  enum class Result : uint8_t { line, too_long, end, stopped };

  // Reads from `fd`, which stays the caller's. `what` names it in errors.
  LineReader(int fd, std::string what);

  // The next line without its end; valid until the next call. A longer line than kMaxLine is passed
  // over (too_long). Waits for bytes until `stop` is requested; lines that are already here are
  // still given then. Throws xst::Error if reading fails.
  Result Next(std::string_view* line, const std::stop_token& stop);

  // Whether nothing follows; waits for bytes as Next does. Ends the life of the last line.
  bool AtEnd(const std::stop_token& stop);

  uint64_t number() const { return number_; }  // of the last line, from 1

  static constexpr size_t kMaxLine = 64 * 1024;

 private:
  bool Fill(const std::stop_token& stop, bool* stopped);

  int fd_;
  std::string what_;
  std::vector<char> buffer_;
  size_t begin_ = 0, end_ = 0;
  uint64_t number_ = 0;
  bool eof_ = false;
};

}  // namespace xstd
