// The small models whose snapshots are fuzzed, and how their bytes are sealed.
#pragma once

#include <xxhash.h>

#include <cstring>
#include <memory>
#include <vector>

#include "sdk/session.h"
#include "tests/fault/small_models.h"

namespace xst::fuzz {

inline std::shared_ptr<const Model> OpenSmall(const char* yaml) {
  const formats::test::AlignedBytes file(test::SmallModel(yaml, formats::DType::f32));
  return Model::open(file.bytes());
}

// Makes the xxh3 at the end of a snapshot or checkpoint right.
inline void SealEnd(std::span<std::byte> bytes) {
  if (bytes.size() < sizeof(uint64_t)) return;
  const size_t end = bytes.size() - sizeof(uint64_t);
  const uint64_t sum = XXH3_64bits(bytes.data(), end);
  std::memcpy(&bytes[end], &sum, sizeof sum);
}

}  // namespace xst::fuzz
