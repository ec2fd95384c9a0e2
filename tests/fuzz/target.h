// What the fuzz targets share.
#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <span>
#include <string>
#include <string_view>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);
extern "C" size_t LLVMFuzzerMutate(uint8_t* data, size_t size, size_t max_size);

namespace xst::fuzz {

// An invariant of accepted input; libFuzzer reports the abort as a finding.
inline void Require(bool holds) {
  if (!holds) std::abort();
}

inline std::string_view Text(const uint8_t* data, size_t size) {
  return {reinterpret_cast<const char*>(data), size};
}

// The input as a file, for readers that take a path.
class MemoryFile {
 public:
  MemoryFile() : fd_(memfd_create("fuzz", MFD_CLOEXEC)) { Require(fd_ >= 0); }
  const std::string& Hold(const uint8_t* data, size_t size) {
    Require(ftruncate(fd_, 0) == 0 && pwrite(fd_, data, size, 0) == static_cast<ssize_t>(size));
    return path_;
  }

 private:
  int fd_;
  std::string path_ = "/proc/self/fd/" + std::to_string(fd_);
};

// Changes a stretch of at most 64 bytes where it lies: what follows keeps its place, which a format
// of offsets needs. One time in eight anything may happen to the whole.
inline size_t MutateInPlace(uint8_t* data, size_t size, size_t max_size, unsigned seed) {
  constexpr size_t kStretch = 64;
  if (size == 0 || seed % 8 == 0) return LLVMFuzzerMutate(data, size, max_size);
  const size_t at = seed / 8 % size;
  const size_t length = size - at < kStretch ? size - at : kStretch;
  LLVMFuzzerMutate(data + at, length, length);
  return size;
}

}  // namespace xst::fuzz
