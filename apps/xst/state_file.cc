#include "apps/xst/state_file.h"

#include <cstring>

#include "formats/status.h"

namespace xst::cli {
namespace {

constexpr size_t kHead = 4;  // the count

}  // namespace

std::vector<std::vector<std::byte>> ReadStates(const std::string& path, uint64_t columns,
                                               uint64_t snapshot_bytes) {
  const std::string bytes = formats::ReadAll(path, uint64_t{1} << 40);
  unsigned char head[kHead];
  if (bytes.size() < kHead) {
    throw Error(Status::truncated, path + ": expected a count of 4 bytes, got " +
                                       std::to_string(bytes.size()) + " bytes");
  }
  std::memcpy(head, bytes.data(), kHead);
  const uint32_t count = head[0] | head[1] << 8 | head[2] << 16 | uint32_t{head[3]} << 24;
  if (count != columns) {
    throw Error(Status::shape_mismatch, path + ": expected one state per input column (" +
                                            std::to_string(columns) + "), got " +
                                            std::to_string(count));
  }
  if (bytes.size() != kHead + count * snapshot_bytes) {
    throw Error(Status::truncated, path + ": expected " + std::to_string(count) + " states of " +
                                       std::to_string(snapshot_bytes) +
                                       " bytes behind the count, got " +
                                       std::to_string(bytes.size() - kHead) + " bytes");
  }
  std::vector<std::vector<std::byte>> states(count, std::vector<std::byte>(snapshot_bytes));
  for (uint32_t i = 0; i < count; ++i) {
    std::memcpy(states[i].data(), bytes.data() + kHead + i * snapshot_bytes, snapshot_bytes);
  }
  return states;
}

void WriteStates(formats::OutputFile& file, const std::vector<std::vector<std::byte>>& snapshots) {
  const auto count = static_cast<uint32_t>(snapshots.size());
  const unsigned char head[kHead] = {
      static_cast<unsigned char>(count), static_cast<unsigned char>(count >> 8),
      static_cast<unsigned char>(count >> 16), static_cast<unsigned char>(count >> 24)};
  file.Write(head, kHead);
  for (const auto& snapshot : snapshots) file.Write(snapshot.data(), snapshot.size());
}

}  // namespace xst::cli
