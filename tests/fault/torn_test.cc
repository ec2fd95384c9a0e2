// Snapshots that the disk kept in part: every bit, every cut and every mixture of sectors of the
// former and the next content. The reader takes the newest slot that is whole.
#include <gtest/gtest.h>

#include <cstring>
#include <random>

#include "apps/xstd/state_dir.h"
#include "tests/fault/small_models.h"

namespace xstd {
namespace {

using xst::formats::Checkpoint;
using xst::formats::test::ReadText;
using xst::formats::test::ScratchFolder;
using xst::formats::test::WriteText;

constexpr size_t kSector = 512;

Checkpoint Some(uint64_t seq, size_t bytes) {
  std::mt19937 random(static_cast<uint32_t>(seq));
  Checkpoint c;
  c.epoch = 99;
  c.seq = seq;
  c.position = 2 * seq;
  c.clock = {true, true, true, 2.5, seq};
  c.name = "ecg";
  for (size_t i = 0; i < bytes; ++i) c.session.push_back(static_cast<std::byte>(random()));
  return c;
}

std::string Bytes(Checkpoint c) {
  c.generation = c.seq;
  std::vector<std::byte> bytes;
  WriteCheckpoint(c, &bytes);
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

bool Valid(std::string_view bytes) {
  Checkpoint c;
  xst::Fault fault;
  return ReadCheckpoint(std::as_bytes(std::span(bytes)), "c", &c, &fault) == xst::Status::ok;
}

TEST(Torn, EveryBitFlipAndEveryCutOfACheckpointIsRefused) {
  const std::string whole = Bytes(Some(3, 100));
  ASSERT_TRUE(Valid(whole));
  for (size_t bit = 0; bit < whole.size() * 8; ++bit) {
    std::string flipped = whole;
    flipped[bit / 8] = static_cast<char>(flipped[bit / 8] ^ 1 << bit % 8);
    EXPECT_FALSE(Valid(flipped)) << bit;
  }
  for (size_t length = 0; length < whole.size(); ++length) {
    EXPECT_FALSE(Valid(whole.substr(0, length))) << length;
    EXPECT_FALSE(Valid(whole.substr(0, length) + std::string(whole.size() - length, '\0')))
        << length;
  }
  EXPECT_FALSE(Valid(whole + '\0'));
  EXPECT_FALSE(Valid(whole + whole));
}

// Slot a holds the third state, b the second; the fourth was on its way into b.
class TornSlot : public testing::TestWithParam<std::pair<size_t, size_t>> {
 protected:
  TornSlot() {
    StateDir state(folder_ / "s");
    for (uint64_t seq = 1; seq <= 3; ++seq) {
      Checkpoint c = Some(seq, seq == 2 ? GetParam().first : GetParam().second);
      state.Write("ecg", &c);
    }
    former_ = ReadText(slot_);
    EXPECT_EQ(former_, Bytes(Some(2, GetParam().first)));
  }
  // With this in slot b the third state comes back, unless b is all of the fourth; with `go_on` the
  // next write leaves what came back alone.
  void Expect(const std::string& content, bool go_on) {
    WriteText(slot_, content);
    StateDir state(folder_ / "s");
    const auto found = state.Read("ecg");
    ASSERT_TRUE(found.checkpoint);
    const bool whole = content == next_;
    EXPECT_EQ(found.checkpoint->seq, whole ? 4u : 3u);
    EXPECT_EQ(found.warning.empty(), whole || content == former_);
    EXPECT_EQ(found.checkpoint->session, Some(found.checkpoint->seq, GetParam().second).session);
    if (whole || !go_on) return;
    const std::string kept = ReadText(found.file);
    Checkpoint c = Some(5, 50);
    state.Write("ecg", &c);
    EXPECT_EQ(ReadText(found.file), kept);
    EXPECT_EQ(state.Read("ecg").checkpoint->seq, 5u);
  }

  const ScratchFolder folder_;
  const std::string slot_ = folder_ / "s/ecg.b";
  const std::string next_ = Bytes(Some(4, GetParam().second));
  std::string former_;
};

TEST_P(TornSlot, CutAtEveryByte) {
  for (size_t at = 0; at <= next_.size(); ++at) {
    const std::string begun = next_.substr(0, at);
    SCOPED_TRACE(at);
    const bool near_sector = (at + 1) % kSector < 3;
    Expect(begun, at % kSector == 0);  // to go on waits for the disk
    if (near_sector || at + 10 > next_.size()) {
      Expect(begun + (at < former_.size() ? former_.substr(at) : ""), false);
      Expect(begun + std::string(next_.size() - at, '\0'), false);
    }
    if (HasFailure()) return;
  }
}

TEST_P(TornSlot, EveryMixtureOfSectors) {
  const size_t sectors = (next_.size() + kSector - 1) / kSector;
  ASSERT_LE(sectors, 10u);
  for (uint32_t kept = 0; kept < 1u << sectors; ++kept) {
    std::string mixed = former_;
    mixed.resize(next_.size(), '\0');
    for (size_t s = 0; s < sectors; ++s) {
      const size_t at = s * kSector;
      if (kept >> s & 1) mixed.replace(at, kSector, next_.substr(at, kSector));
    }
    SCOPED_TRACE(kept);
    Expect(mixed, true);
    if (HasFailure()) return;
  }
}

INSTANTIATE_TEST_SUITE_P(FormerAndNextBytes, TornSlot,
                         testing::Values(std::pair(3000, 3000), std::pair(1500, 3000),
                                         std::pair(3000, 1500)));

}  // namespace
}  // namespace xstd
