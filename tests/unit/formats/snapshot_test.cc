#include "formats/snapshot.h"

#include <gtest/gtest.h>

#include <cstring>

namespace xst::formats {
namespace {

std::vector<std::byte> Sealed(uint64_t count) {
  std::vector<std::byte> bytes(SnapshotBytes(count));
  const auto values = SnapshotValues(bytes);
  for (uint64_t i = 0; i < count; ++i) {
    const auto v = static_cast<float>(i) * 0.5f;
    std::memcpy(values.data() + 4 * i, &v, 4);
  }
  SealSnapshot({{1, 2}, {3, 4}, 99, count}, bytes);
  return bytes;
}

TEST(Snapshot, RoundTrip) {
  for (uint64_t count : {0u, 1u, 1000u}) {
    const auto bytes = Sealed(count);
    SnapshotHeader header;
    std::span<const std::byte> values;
    Fault fault;
    ASSERT_EQ(ReadSnapshot(bytes, &header, &values, &fault), Status::ok) << fault.message;
    EXPECT_EQ(header.arch_hash, (Hash128{1, 2}));
    EXPECT_EQ(header.source_hash, (Hash128{3, 4}));
    EXPECT_EQ(header.steps, 99u);
    EXPECT_EQ(header.count, count);
    ASSERT_EQ(values.size(), 4 * count);
    if (count > 1) {
      float second;
      std::memcpy(&second, values.data() + 4, 4);
      EXPECT_EQ(second, 0.5f);
    }
  }
}

TEST(Snapshot, LayoutIsTheDocumentedOne) {
  const auto bytes = Sealed(3);
  EXPECT_EQ(bytes.size(), 4u + 2 + 2 + 16 + 16 + 8 + 8 + 3 * 4 + 8);
  EXPECT_EQ(std::memcmp(bytes.data(), "XSTS", 4), 0);
  uint64_t steps;
  std::memcpy(&steps, &bytes[40], 8);
  EXPECT_EQ(steps, 99u);
}

TEST(Snapshot, OtherVersionsAreNamed) {
  auto bytes = Sealed(3);
  const auto refusal = [&](std::byte major, std::byte minor) {
    bytes[4] = major;
    bytes[6] = minor;
    SnapshotHeader header;
    std::span<const std::byte> values;
    Fault fault;
    EXPECT_EQ(ReadSnapshot(bytes, &header, &values, &fault), Status::unsupported_version);
    return std::string(fault.message);
  };
  EXPECT_EQ(refusal(std::byte{0}, std::byte{1}),
            "snapshot: expected format 1.0, got 0.1, from before the first release: make it again");
  EXPECT_EQ(refusal(std::byte{1}, std::byte{1}),
            "snapshot: expected format 1.0, got 1.1, which a newer version reads");
}

TEST(Snapshot, EveryBitFlipAndLengthIsRefused) {
  const auto good = Sealed(20);
  SnapshotHeader header;
  std::span<const std::byte> values;
  for (size_t bit = 0; bit < good.size() * 8; ++bit) {
    auto bad = good;
    bad[bit / 8] ^= std::byte{1} << bit % 8;
    Fault fault;
    EXPECT_NE(ReadSnapshot(bad, &header, &values, &fault), Status::ok) << bit;
    EXPECT_NE(fault.message[0], '\0');
  }
  for (size_t n = 0; n <= good.size() + 4; ++n) {
    if (n == good.size()) continue;
    auto bad = good;
    bad.resize(n);
    Fault fault;
    EXPECT_NE(ReadSnapshot(bad, &header, &values, &fault), Status::ok) << n;
  }
}

TEST(Snapshot, ACountThatWrapsIsRefused) {
  auto bytes = Sealed(2);
  const uint64_t count = (uint64_t{1} << 62) + 2;  // times 4 is 8 again
  SealSnapshot({{}, {}, 0, count}, bytes);
  SnapshotHeader header;
  std::span<const std::byte> values;
  Fault fault;
  EXPECT_EQ(ReadSnapshot(bytes, &header, &values, &fault), Status::truncated);
}

}  // namespace
}  // namespace xst::formats
