// The input log: what was committed comes back, whatever happened to the end of its files.
#include "apps/xstd/input_log.h"

#include <gtest/gtest.h>
#include <sys/resource.h>

#include <algorithm>
#include <bit>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "formats/status.h"

namespace xstd {
namespace {

namespace fs = std::filesystem;
using xst::formats::Checkpoint;
using xst::stream::SampleHead;

constexpr uint32_t kWidth = 2;
constexpr size_t kHeader = 32, kRecord = 28 + 4 * kWidth;

struct Kept {
  SampleHead head;
  std::vector<float> x;
};

std::string ReadFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

void WriteFile(const std::string& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary) << bytes;
}

float Channel(uint64_t seq, size_t i) {
  if (seq % 5 == 3) return std::numeric_limits<float>::quiet_NaN();
  return static_cast<float>(seq) + 0.25f * static_cast<float>(i);
}

class InputLogTest : public testing::Test {
 protected:
  InputLogTest() {
    std::string name = (fs::temp_directory_path() / "xst-log-XXXXXX").string();
    folder_ = mkdtemp(name.data());
    state_ = folder_ + "/state";
    fs::create_directory(state_);
  }
  ~InputLogTest() override { fs::remove_all(folder_); }

  static Checkpoint At(uint64_t position, uint64_t seq) {
    Checkpoint c;
    c.position = position;
    c.clock.has_seq = position > 0;
    c.clock.seq = seq;
    return c;
  }
  static bool Commit(InputLog* log, uint64_t first_seq, size_t count, uint32_t width = kWidth) {
    std::vector<SampleHead> heads(count);
    std::vector<float> x;
    for (size_t i = 0; i < count; ++i) {
      heads[i].has_seq = true;
      heads[i].seq = first_seq + i;
      heads[i].has_t = heads[i].seq % 2 == 0;
      heads[i].t = 1e9 + static_cast<double>(heads[i].seq) / 3;
      for (size_t c = 0; c < width; ++c) x.push_back(Channel(heads[i].seq, c));
    }
    return log->Commit(heads, x);
  }
  static std::vector<Kept> Replay(InputLog* log, uint64_t position) {
    std::vector<Kept> all;
    log->Replay(position, [&](const SampleHead& head, std::span<const float> x) {
      all.push_back({head, {x.begin(), x.end()}});
      return true;
    });
    return all;
  }
  // Records `first`… of seq 0, 1, … at positions 1, 2, …
  static void ExpectKept(const std::vector<Kept>& kept, uint64_t first, size_t count) {
    ASSERT_EQ(kept.size(), count);
    for (size_t i = 0; i < count; ++i) {
      const SampleHead& head = kept[i].head;
      EXPECT_EQ(head.seq, first + i);
      EXPECT_EQ(head.position, first + i + 1);
      EXPECT_EQ(head.t, 1e9 + static_cast<double>(head.seq) / 3);
      EXPECT_EQ(head.has_t, head.seq % 2 == 0);
      EXPECT_TRUE(head.has_seq && head.historical);
      for (size_t c = 0; c < kept[i].x.size(); ++c) {
        EXPECT_EQ(std::bit_cast<uint32_t>(kept[i].x[c]),
                  std::bit_cast<uint32_t>(Channel(head.seq, c)));
      }
    }
  }
  std::vector<std::string> Files() const {
    std::vector<std::string> files;
    for (const auto& f : fs::directory_iterator(state_)) files.push_back(f.path().string());
    std::sort(files.begin(), files.end());
    return files;
  }

  std::string folder_, state_;
  const Checkpoint start_ = At(0, 0);
};

TEST_F(InputLogTest, WhatWasCommittedComesBackInOrder) {
  {
    InputLog log(state_, "s", kWidth, nullptr);
    EXPECT_FALSE(log.last_seq());
    EXPECT_TRUE(Commit(&log, 0, 3));
    EXPECT_TRUE(Commit(&log, 3, 1));
    EXPECT_TRUE(log.Commit({}, {}));
    EXPECT_EQ(log.last_seq(), 3u);
  }
  {
    InputLog log(state_, "s", kWidth, &start_);
    EXPECT_EQ(log.kept(), 4u);
    EXPECT_EQ(log.last_seq(), 3u);
    ExpectKept(Replay(&log, 0), 0, 4);
    EXPECT_TRUE(Commit(&log, 4, 2));
  }
  const Checkpoint later = At(3, 2);
  InputLog log(state_, "s", kWidth, &later);
  EXPECT_TRUE(log.warning().empty());
  EXPECT_EQ(log.last_seq(), 5u);
  ExpectKept(Replay(&log, 3), 3, 3);
  const Checkpoint behind = At(9, 8);  // of a log that was removed
  InputLog none(state_, "s", kWidth, &behind);
  EXPECT_EQ(none.last_seq(), 8u);
  EXPECT_TRUE(Replay(&none, 9).empty());
}

TEST_F(InputLogTest, EveryCutEndsBehindTheLastWholeRecord) {
  { EXPECT_TRUE(Commit(std::make_unique<InputLog>(state_, "s", kWidth, nullptr).get(), 0, 5)); }
  const std::string path = Files().at(0), whole = ReadFile(path);
  ASSERT_EQ(whole.size(), kHeader + 5 * kRecord);
  for (size_t size = 0; size <= whole.size(); ++size) {
    fs::remove_all(state_);
    fs::create_directory(state_);
    WriteFile(path, whole.substr(0, size));
    const size_t records = size < kHeader ? 0 : (size - kHeader) / kRecord;
    {
      InputLog log(state_, "s", kWidth, &start_);
      ASSERT_EQ(log.kept(), records) << size;
      ExpectKept(Replay(&log, 0), 0, records);
      ASSERT_TRUE(Commit(&log, records, 2));
    }
    InputLog log(state_, "s", kWidth, &start_);
    ExpectKept(Replay(&log, 0), 0, records + 2);
  }
}

TEST_F(InputLogTest, EveryFlippedBitEndsItThere) {
  { EXPECT_TRUE(Commit(std::make_unique<InputLog>(state_, "s", kWidth, nullptr).get(), 0, 3)); }
  const std::string path = Files().at(0), whole = ReadFile(path);
  for (size_t bit = 0; bit < 8 * whole.size(); ++bit) {
    std::string bytes = whole;
    bytes[bit / 8] = static_cast<char>(bytes[bit / 8] ^ (1 << bit % 8));
    WriteFile(path, bytes);
    InputLog log(state_, "s", kWidth, &start_);
    const size_t records = bit / 8 < kHeader ? 0 : (bit / 8 - kHeader) / kRecord;
    ASSERT_EQ(log.kept(), records) << bit;
    ExpectKept(Replay(&log, 0), 0, records);
  }
}

TEST_F(InputLogTest, ARecordMovedElsewhereIsNone) {
  { EXPECT_TRUE(Commit(std::make_unique<InputLog>(state_, "s", kWidth, nullptr).get(), 0, 3)); }
  const std::string path = Files().at(0);
  std::string bytes = ReadFile(path);
  bytes.replace(kHeader + kRecord, kRecord, bytes.substr(kHeader, kRecord));
  WriteFile(path, bytes);
  EXPECT_EQ(InputLog(state_, "s", kWidth, &start_).kept(), 1u);
}

TEST_F(InputLogTest, WhatLiesBehindAHoleIsDroppedAndSaid) {
  { EXPECT_TRUE(Commit(std::make_unique<InputLog>(state_, "s", kWidth, nullptr).get(), 0, 4)); }
  { EXPECT_TRUE(Commit(std::make_unique<InputLog>(state_, "s", kWidth, &start_).get(), 4, 4)); }
  ASSERT_EQ(Files().size(), 2u);
  std::string bytes = ReadFile(Files()[0]);
  bytes[kHeader + 2 * kRecord] ^= 1;
  WriteFile(Files()[0], bytes);
  // Behind the hole nothing is missing.
  const Checkpoint behind = At(3, 2);
  {
    InputLog log(state_, "s", kWidth, &behind);
    ExpectKept(Replay(&log, 3), 3, 5);
    EXPECT_TRUE(log.warning().empty());
  }
  {
    InputLog log(state_, "s", kWidth, &start_);
    EXPECT_NE(log.warning().find("expected records from 3 on"), std::string::npos) << log.warning();
    EXPECT_EQ(log.kept(), 2u);
    EXPECT_TRUE(Commit(&log, 2, 1));
  }
  InputLog log(state_, "s", kWidth, &start_);
  ExpectKept(Replay(&log, 0), 0, 3);
  EXPECT_TRUE(log.warning().empty());
}

TEST_F(InputLogTest, AFreshStreamForgetsAFormerOnesLog) {
  { EXPECT_TRUE(Commit(std::make_unique<InputLog>(state_, "s", kWidth, nullptr).get(), 0, 4)); }
  WriteFile(state_ + "/s.log.1", "not one of ours");
  WriteFile(state_ + "/ss.log.00000000000000000001", "another stream's");
  InputLog log(state_, "s", kWidth, nullptr);
  EXPECT_FALSE(log.warning().empty());
  EXPECT_TRUE(Replay(&log, 0).empty());
  EXPECT_EQ(Files().size(), 2u);
}

TEST_F(InputLogTest, AnotherModelsLogIsRefused) {
  { EXPECT_TRUE(Commit(std::make_unique<InputLog>(state_, "s", kWidth, nullptr).get(), 0, 4)); }
  try {
    InputLog(state_, "s", 3, &start_);
    FAIL();
  } catch (const xst::Error& e) {
    EXPECT_NE(std::string(e.what()).find("expected samples of 3 channels, got 2"),
              std::string::npos)
        << e.what();
  }
}

TEST_F(InputLogTest, AnotherModelsLogOfWhichNothingIsNeededIsPassedOver) {
  const Checkpoint fresh = At(0, 0), done = At(4, 3);
  {
    InputLog log(state_, "s", kWidth, &fresh);
    ASSERT_TRUE(Commit(&log, 0, 4));
  }
  InputLog log(state_, "s", kWidth + 1, &done);
  EXPECT_TRUE(Replay(&log, 4).empty());
  EXPECT_EQ(log.last_seq(), 3u);
  EXPECT_TRUE(Commit(&log, 4, 2, kWidth + 1));
  EXPECT_EQ(Replay(&log, 4).size(), 2u);
}

TEST_F(InputLogTest, TheFilesEndBehindTheOlderCheckpoint) {
  constexpr uint32_t kWide = 1024;
  constexpr size_t kAtOnce = 100;  // 0.4 MiB
  InputLog log(state_, "s", kWide, nullptr);
  uint64_t seq = 0;
  const auto commit = [&](int times) {
    for (int i = 0; i < times; ++i, seq += kAtOnce) ASSERT_TRUE(Commit(&log, seq, kAtOnce, kWide));
  };
  commit(6);
  EXPECT_EQ(Files().size(), 2u);
  log.Truncate(0, seq);
  EXPECT_EQ(Files().size(), 2u);
  log.Truncate(299, seq);
  EXPECT_EQ(Files().size(), 2u);
  log.Truncate(300, seq);  // the first file is of 300
  EXPECT_EQ(Files().size(), 1u);
  EXPECT_FALSE(log.WantsCheckpoint());
  commit(45);
  EXPECT_TRUE(log.WantsCheckpoint());
  log.Truncate(600, seq);
  EXPECT_FALSE(log.WantsCheckpoint());
  ExpectKept(Replay(&log, 600), 600, seq - 600);
}

TEST_F(InputLogTest, AFullDiskKeepsNothingAndIsTriedAgain) {
  std::signal(SIGXFSZ, SIG_IGN);
  rlimit before{};
  getrlimit(RLIMIT_FSIZE, &before);
  {
    InputLog log(state_, "s", kWidth, nullptr);
    ASSERT_TRUE(Commit(&log, 0, 2));
    for (const size_t room : {size_t{0}, kHeader / 2, kHeader, kHeader + 2 * kRecord + 5}) {
      rlimit full = before;
      full.rlim_cur = room;
      ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &full), 0);
      const bool kept = Commit(&log, 2, 4);
      ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &before), 0);
      EXPECT_FALSE(kept) << room;
    }
    EXPECT_EQ(log.errors(), 4u);
    EXPECT_NE(log.last_error().find("expected room"), std::string::npos) << log.last_error();
    EXPECT_EQ(log.last_seq(), 1u);
    EXPECT_TRUE(Commit(&log, 2, 4));
    ExpectKept(Replay(&log, 0), 0, 6);
  }
  InputLog log(state_, "s", kWidth, &start_);
  ExpectKept(Replay(&log, 0), 0, 6);
}

TEST_F(InputLogTest, AFolderThatWentAwayKeepsNothingUntilACheckpointIsInTheNewOne) {
  InputLog log(state_, "s", kWidth, nullptr);
  ASSERT_TRUE(Commit(&log, 0, 5));
  fs::rename(state_, state_ + "-moved");
  EXPECT_FALSE(Commit(&log, 5, 2));
  EXPECT_TRUE(log.WantsCheckpoint());
  fs::create_directory(state_);
  EXPECT_FALSE(Commit(&log, 5, 2));
  log.Truncate(0, 4);  // not of all that was kept
  EXPECT_TRUE(log.WantsCheckpoint());
  EXPECT_FALSE(Commit(&log, 5, 2));
  log.Truncate(4, 5);
  EXPECT_FALSE(log.WantsCheckpoint());
  EXPECT_TRUE(Commit(&log, 5, 2));
  const Checkpoint there = At(5, 4);
  InputLog again(state_, "s", kWidth, &there);
  ExpectKept(Replay(&again, 5), 5, 2);
}

}  // namespace
}  // namespace xstd
