#include "formats/model_header.h"

#include <xxhash.h>

#include <bit>
#include <cstring>

#include "formats/checked.h"
#include "formats/model_file.h"

namespace xst::formats {
namespace {

static_assert(std::endian::native == std::endian::little, "the file is read in place");

constexpr char kMagic[4] = {'X', 'S', 'T', '1'};
constexpr size_t kSealed = kHeaderBytes - sizeof(uint64_t);

template <class T>
T Load(const std::byte* from) {
  T value;
  std::memcpy(&value, from, sizeof value);
  return value;
}

template <class T>
void Store(std::byte* to, T value) {
  std::memcpy(to, &value, sizeof value);
}

}  // namespace

std::array<std::byte, kHeaderBytes> EncodeHeader(const ModelHeader& header) {
  std::array<std::byte, kHeaderBytes> bytes{};
  std::memcpy(bytes.data(), kMagic, sizeof kMagic);
  Store(&bytes[4], kModelFormat.major);
  Store(&bytes[6], kModelFormat.minor);
  Store(&bytes[8], header.file_bytes);
  Store(&bytes[16], header.dir_bytes);
  Store(&bytes[24], header.payload_offset);
  Store(&bytes[32], header.dir_xxh3);
  Store(&bytes[40], header.payload_xxh3);
  Store(&bytes[kSealed], uint64_t{XXH3_64bits(bytes.data(), kSealed)});
  return bytes;
}

Status DecodeHeader(std::span<const std::byte> file, ModelHeader* header, Fault* fault) {
  const auto n = [](uint64_t value) { return static_cast<unsigned long long>(value); };
  if (file.size() < kHeaderBytes) {
    return fault->Set(Status::truncated, "header: expected at least %llu bytes, got %llu",
                      n(kHeaderBytes), n(file.size()));
  }
  const std::byte* at = file.data();
  if (std::memcmp(at, kMagic, sizeof kMagic) != 0) {
    return fault->Set(Status::corrupt, "header: expected the magic XST1, got another file type");
  }
  header->header_xxh3 = Load<uint64_t>(at + kSealed);
  if (header->header_xxh3 != XXH3_64bits(at, kSealed)) {
    return fault->Set(Status::corrupt, "header: expected its checksum to match, got another");
  }
  const FormatVersion version = {Load<uint16_t>(at + 4), Load<uint16_t>(at + 6)};
  const Status known = CheckVersion("header", kModelFormat, version, fault);
  if (known != Status::ok) return known;
  header->file_bytes = Load<uint64_t>(at + 8);
  header->dir_bytes = Load<uint64_t>(at + 16);
  header->payload_offset = Load<uint64_t>(at + 24);
  header->dir_xxh3 = Load<uint64_t>(at + 32);
  header->payload_xxh3 = Load<uint64_t>(at + 40);
  if (Load<uint32_t>(at + 48) != 0 || Load<uint32_t>(at + 52) != 0) {
    return fault->Set(Status::corrupt, "header: expected flags and padding 0, got others");
  }
  if (header->file_bytes != file.size()) {
    return fault->Set(Status::truncated, "file: expected %llu bytes, got %llu",
                      n(header->file_bytes), n(file.size()));
  }
  if (header->dir_bytes == 0 || header->dir_bytes > kMaxDirectoryBytes) {
    return fault->Set(Status::corrupt, "directory: expected 1 to %llu bytes, got %llu",
                      n(kMaxDirectoryBytes), n(header->dir_bytes));
  }
  const Checked behind = (Checked(kHeaderBytes) + header->dir_bytes).AlignUp(kSegmentAlign);
  if (!behind.Equals(header->payload_offset) || header->payload_offset > file.size()) {
    return fault->Set(Status::corrupt,
                      "payload: expected it right behind the directory and in the file, got "
                      "offset %llu",
                      n(header->payload_offset));
  }
  for (uint64_t i = kHeaderBytes + header->dir_bytes; i < header->payload_offset; ++i) {
    if (at[i] != std::byte{0}) {
      return fault->Set(Status::corrupt,
                        "directory: expected zero bytes behind it, got another at %llu", n(i));
    }
  }
  return Status::ok;
}

}  // namespace xst::formats
