// State files of `xst run`: a u32 count, little-endian, and one snapshot per column.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "formats/output_file.h"

namespace xst::cli {

// The snapshots in order. Throws Error unless the file holds exactly `columns` of them, each
// `snapshot_bytes` long.
std::vector<std::vector<std::byte>> ReadStates(const std::string& path, uint64_t columns,
                                               uint64_t snapshot_bytes);

// Throws Error{io_error}.
void WriteStates(formats::OutputFile& file, const std::vector<std::vector<std::byte>>& snapshots);

}  // namespace xst::cli
