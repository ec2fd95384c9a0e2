// The 64 bytes in front of a model file, version 1.0 (formats/version.h says what a version means).
//
//   0 magic "XST1"   4 u16 major   6 u16 minor   8 u64 file_bytes   16 u64 dir_bytes
//   24 u64 payload_offset   32 u64 dir_xxh3   40 u64 payload_xxh3   48 u32 flags (0)
//   52 padding (0)   56 u64 header_xxh3, of the 56 bytes before
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "formats/status.h"

namespace xst::formats {

inline constexpr uint64_t kHeaderBytes = 64;
inline constexpr uint64_t kMaxDirectoryBytes = uint64_t{1} << 30;
inline constexpr uint32_t kMaxTables = 65536, kMaxDepth = 16;

struct ModelHeader {
  uint64_t file_bytes = 0;
  uint64_t dir_bytes = 0;       // the directory starts right behind the header
  uint64_t payload_offset = 0;  // the next multiple of 64 behind the directory; reaches to the end
  uint64_t dir_xxh3 = 0, payload_xxh3 = 0;
  uint64_t header_xxh3 = 0;  // computed by EncodeHeader
};

std::array<std::byte, kHeaderBytes> EncodeHeader(const ModelHeader& header);

// Checks everything that the header says against `file`, but no other checksum than its own.
Status DecodeHeader(std::span<const std::byte> file, ModelHeader* header, Fault* fault);

}  // namespace xst::formats
