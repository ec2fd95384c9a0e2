// Makes the checksums of a changed model file right again, so that what is behind them is reached.
#pragma once

#include <xxhash.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>

#include "formats/model_file.h"

namespace xst::test {

inline uint64_t LoadU64(std::span<const std::byte> file, size_t at) {
  uint64_t value;
  std::memcpy(&value, &file[at], sizeof value);
  return value;
}

inline void StoreU64(std::span<std::byte> file, size_t at, uint64_t value) {
  std::memcpy(&file[at], &value, sizeof value);
}

// Recomputes dir_xxh3 and payload_xxh3 where the header's ranges lie in the file, then header_xxh3
// (offsets of formats/model_header.h). Shorter than a header: nothing.
inline void Reseal(std::span<std::byte> file) {
  if (file.size() < 64) return;
  const uint64_t dir_bytes = LoadU64(file, 16), payload = LoadU64(file, 24);
  if (dir_bytes <= file.size() - 64) StoreU64(file, 32, XXH3_64bits(&file[0] + 64, dir_bytes));
  if (payload <= file.size()) {
    StoreU64(file, 40, XXH3_64bits(&file[0] + payload, file.size() - payload));
  }
  StoreU64(file, 56, XXH3_64bits(&file[0], 56));
}

// The same, and the hash of the configuration in the directory too, so that nothing but content can
// be refused. True if that hash had to change. `file` is 64-byte aligned.
inline bool ResealWithArchHash(std::span<std::byte> file) {
  Reseal(file);
  formats::Directory directory;
  Fault fault;
  ReadModel(file, formats::Check::ranges, &directory, &fault);
  if (!std::string_view(fault.message).starts_with("arch_hash")) return false;
  const auto stored = std::as_bytes(std::span(&directory.arch_hash, 1));
  const auto at = std::search(file.begin(), file.end(), stored.begin(), stored.end());
  if (at == file.end()) return false;
  const formats::Hash128 hash = ArchHash(directory.config);
  std::memcpy(&*at, &hash, sizeof hash);
  Reseal(file);
  return true;
}

}  // namespace xst::test
