// Snapshots, version 1.0: the state of one stream as bytes, the same on every device, instruction
// set and dtype (formats/version.h says what a version means).
//
// Layout, little-endian: magic "XSTS", u16 major, u16 minor, arch_hash (16), source_hash (16),
// u64 steps since the last reset, u64 count, count f32 values in Plan order, u64 xxh3 of all
// before.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "formats/model_file.h"
#include "formats/status.h"

namespace xst::formats {

struct SnapshotHeader {
  Hash128 arch_hash, source_hash;
  uint64_t steps = 0;
  uint64_t count = 0;  // f32 values
};

uint64_t SnapshotBytes(uint64_t count);

// Writes header and checksum around `out` (SnapshotBytes(header.count) long); the caller fills the
// values through SnapshotValues before sealing. No allocation.
std::span<std::byte> SnapshotValues(std::span<std::byte> snapshot);
void SealSnapshot(const SnapshotHeader& header, std::span<std::byte> snapshot);

// Checks size, magic, version and checksum; `values` points into `snapshot` (unaligned f32).
Status ReadSnapshot(std::span<const std::byte> snapshot, SnapshotHeader* header,
                    std::span<const std::byte>* values, Fault* fault);

// Whether a snapshot is of this architecture, count and, but for `allow_other_weights`, source.
Status CheckOrigin(const SnapshotHeader& got, const SnapshotHeader& expected,
                   bool allow_other_weights, Fault* fault);

}  // namespace xst::formats
