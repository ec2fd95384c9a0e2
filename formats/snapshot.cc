#include "formats/snapshot.h"

#include <xxhash.h>

#include <cstring>

#include "formats/checked.h"
#include "formats/version.h"

namespace xst::formats {
namespace {

constexpr char kMagic[4] = {'X', 'S', 'T', 'S'};
constexpr FormatVersion kVersion = {1, 0};
// magic, version, two hashes, steps, count.
constexpr size_t kHead = 4 + 2 + 2 + 16 + 16 + 8 + 8, kSum = 8;

template <class T>
void Put(std::byte*& to, T value) {
  std::memcpy(to, &value, sizeof value);
  to += sizeof value;
}

template <class T>
T Take(const std::byte*& from) {
  T value;
  std::memcpy(&value, from, sizeof value);
  from += sizeof value;
  return value;
}

}  // namespace

uint64_t SnapshotBytes(uint64_t count) {
  return (Checked(count) * sizeof(float) + kHead + kSum).value();
}

std::span<std::byte> SnapshotValues(std::span<std::byte> snapshot) {
  return snapshot.subspan(kHead, snapshot.size() - kHead - kSum);
}

void SealSnapshot(const SnapshotHeader& header, std::span<std::byte> snapshot) {
  std::byte* to = snapshot.data();
  std::memcpy(to, kMagic, sizeof kMagic);
  to += sizeof kMagic;
  Put(to, kVersion.major);
  Put(to, kVersion.minor);
  for (const Hash128& hash : {header.arch_hash, header.source_hash}) {
    Put(to, hash.low);
    Put(to, hash.high);
  }
  Put(to, header.steps);
  Put(to, header.count);
  std::byte* sum = snapshot.data() + snapshot.size() - kSum;
  Put(sum, uint64_t{XXH3_64bits(snapshot.data(), snapshot.size() - kSum)});
}

Status ReadSnapshot(std::span<const std::byte> snapshot, SnapshotHeader* header,
                    std::span<const std::byte>* values, Fault* fault) {
  if (snapshot.size() < kHead + kSum) {
    return fault->Set(Status::truncated, "snapshot: expected at least %zu bytes, got %zu",
                      kHead + kSum, snapshot.size());
  }
  const std::byte* from = snapshot.data();
  if (std::memcmp(from, kMagic, sizeof kMagic) != 0) {
    return fault->Set(Status::corrupt, "snapshot: expected the magic XSTS, got another");
  }
  from += sizeof kMagic;
  FormatVersion version;
  version.major = Take<uint16_t>(from);
  version.minor = Take<uint16_t>(from);
  const Status known = CheckVersion("snapshot", kVersion, version, fault);
  if (known != Status::ok) return known;
  for (Hash128* hash : {&header->arch_hash, &header->source_hash}) {
    hash->low = Take<uint64_t>(from);
    hash->high = Take<uint64_t>(from);
  }
  header->steps = Take<uint64_t>(from);
  header->count = Take<uint64_t>(from);
  const Checked bytes = Checked(header->count) * sizeof(float) + kHead + kSum;
  if (!bytes.Equals(snapshot.size())) {
    return fault->Set(Status::truncated, "snapshot: expected %llu values in %zu bytes, got others",
                      static_cast<unsigned long long>(header->count), snapshot.size());
  }
  const std::byte* sum = snapshot.data() + snapshot.size() - kSum;
  if (Take<uint64_t>(sum) != XXH3_64bits(snapshot.data(), snapshot.size() - kSum)) {
    return fault->Set(Status::corrupt, "snapshot: expected its checksum to match, got another");
  }
  *values = snapshot.subspan(kHead, snapshot.size() - kHead - kSum);
  return Status::ok;
}

Status CheckOrigin(const SnapshotHeader& got, const SnapshotHeader& expected,
                   bool allow_other_weights, Fault* fault) {
  if (got.arch_hash != expected.arch_hash) {
    return fault->Set(Status::other_model,
                      "snapshot: expected one of a model with arch_hash %s, got %s",
                      Hex(expected.arch_hash).digits, Hex(got.arch_hash).digits);
  }
  if (got.count != expected.count) {
    return fault->Set(Status::other_model, "snapshot: expected %llu values, got %llu",
                      static_cast<unsigned long long>(expected.count),
                      static_cast<unsigned long long>(got.count));
  }
  if (got.source_hash != expected.source_hash && !allow_other_weights) {
    return fault->Set(Status::other_model,
                      "snapshot: expected one of the weights with source_hash %s, got %s",
                      Hex(expected.source_hash).digits, Hex(got.source_hash).digits);
  }
  return Status::ok;
}

}  // namespace xst::formats
