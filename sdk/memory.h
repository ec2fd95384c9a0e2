// Memory that a step reads: zeroed anonymous pages on a 2 MiB boundary (huge where the kernel
// grants it), or a read-only mapping of a file.
#pragma once

#include <cstddef>
#include <span>
#include <string>

#include "formats/status.h"

namespace xst {

// Bytes rounded up to an odd number of 64-byte lines: arrays that far apart do not meet in the sets
// of a cache.
constexpr size_t OddLines(size_t bytes) { return ((bytes + 63) / 64 | 1) * 64; }

class Memory {
 public:
  Memory() = default;
  ~Memory();
  Memory(Memory&& other) noexcept;
  Memory& operator=(Memory&& other) noexcept;

  // `bytes` zeroed, writable, every page present.
  static Status Allocate(uint64_t bytes, Memory* out, Fault* fault);
  // Maps `path` read-only; files under `copy_below` bytes are copied instead, so that a later cut
  // of the file cannot fault.
  static Status ReadFile(const std::string& path, size_t copy_below, Memory* out, Fault* fault);

  // Memory of the caller, which outlives this and is only read.
  static Memory View(std::span<const std::byte> bytes);

  std::span<std::byte> bytes() const { return {data_, size_}; }
  bool mapped_file() const { return mapped_file_; }

 private:
  std::byte* data_ = nullptr;
  size_t size_ = 0;
  void* base_ = nullptr;  // of the mapping that holds it
  size_t mapped_ = 0;
  bool mapped_file_ = false;
};

}  // namespace xst
