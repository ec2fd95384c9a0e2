// What xstd reads line by line, and where it keeps its state.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include "apps/xstd/csv.h"
#include "apps/xstd/lines.h"
#include "apps/xstd/state_dir.h"
#include "formats/status.h"

namespace xstd {
namespace {

namespace fs = std::filesystem;
using Result = LineReader::Result;
using xst::formats::Checkpoint;

// A fresh folder, removed at the end.
class Folder {
 public:
  Folder() {
    std::string name = (fs::temp_directory_path() / "xstd-XXXXXX").string();
    path_ = mkdtemp(name.data());
  }
  ~Folder() { fs::remove_all(path_); }
  std::string operator/(const std::string& name) const { return path_ + "/" + name; }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

std::vector<std::pair<Result, std::string>> ReadAll(const std::string& bytes) {
  const Folder folder;
  std::ofstream(folder / "f", std::ios::binary) << bytes;
  const int fd = open((folder / "f").c_str(), O_RDONLY);
  LineReader reader(fd, "f");
  std::vector<std::pair<Result, std::string>> all;
  for (;;) {
    std::string_view line;
    const Result result = reader.Next(&line, {});
    if (result == Result::end) break;
    all.emplace_back(result, std::string(line));
  }
  close(fd);
  return all;
}

TEST(Lines, EveryKindOfEnd) {
  using V = std::vector<std::pair<Result, std::string>>;
  EXPECT_EQ(ReadAll(""), V{});
  EXPECT_EQ(ReadAll("a\n\nb\r\nc"),
            (V{{Result::line, "a"}, {Result::line, ""}, {Result::line, "b"}, {Result::line, "c"}}));
  EXPECT_EQ(ReadAll("\n"), (V{{Result::line, ""}}));
}

TEST(Lines, TooLongArePassedOver) {
  const std::string most(LineReader::kMaxLine, 'x');
  for (const size_t more :
       {size_t{1}, size_t{100}, LineReader::kMaxLine, 5 * LineReader::kMaxLine}) {
    const auto all = ReadAll("a\n" + most + "\n" + most + std::string(more, 'y') + "\nb\n");
    ASSERT_EQ(all.size(), 4u) << more;
    EXPECT_EQ(all[1], std::make_pair(Result::line, most));
    EXPECT_EQ(all[2].first, Result::too_long);
    EXPECT_EQ(all[3], std::make_pair(Result::line, std::string("b")));
  }
}

TEST(Lines, StopEndsTheWaitAfterWhatIsHere) {
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  ASSERT_EQ(write(ends[1], "a\nb\npart", 8), 8);
  LineReader reader(ends[0], "pipe");
  std::stop_source stop;
  std::string_view line;
  EXPECT_EQ(reader.Next(&line, stop.get_token()), Result::line);
  stop.request_stop();
  EXPECT_EQ(reader.Next(&line, stop.get_token()), Result::line);
  EXPECT_EQ(line, "b");
  EXPECT_EQ(reader.Next(&line, stop.get_token()), Result::stopped);
  close(ends[0]);
  close(ends[1]);
}

xst::ModelInfo Model(const std::vector<std::string>& names) {
  xst::ModelInfo info;
  info.input_names = names;
  info.input_width = static_cast<uint32_t>(names.size());
  return info;
}

std::vector<float> Row(const CsvColumns& columns, const char* row, double* t) {
  std::vector<float> x(2);
  xst::Fault fault;
  EXPECT_EQ(columns.Parse(row, t, x, &fault), xst::Status::ok) << fault.message;
  return x;
}

TEST(Csv, FindsColumnsByName) {
  const CsvColumns columns("Time, b ,other,\"a\"", Model({"a", "b"}), "f.csv");
  EXPECT_TRUE(columns.has_time());
  double t = 0;
  EXPECT_EQ(Row(columns, "1.5,2,ignored,3", &t), (std::vector<float>{3, 2}));
  EXPECT_EQ(t, 1.5);
}

TEST(Csv, FindsColumnsByOrder) {
  double t = 0;
  const CsvColumns with_time("t,u,v", Model({"a", "b"}), "f.csv");
  EXPECT_EQ(Row(with_time, "7,1,2", &t), (std::vector<float>{1, 2}));
  EXPECT_EQ(t, 7);
  const CsvColumns without("u,v", Model({"a", "b"}), "f.csv");
  EXPECT_FALSE(without.has_time());
  EXPECT_EQ(Row(without, "1,2", &t), (std::vector<float>{1, 2}));
}

TEST(Csv, MissingAndExtremeValues) {
  double t = 0;
  const CsvColumns columns("a,b", Model({"a", "b"}), "f.csv");
  EXPECT_TRUE(std::isnan(Row(columns, ",1", &t)[0]));
  EXPECT_TRUE(std::isnan(Row(columns, "nan,1", &t)[0]));
  EXPECT_TRUE(std::isinf(Row(columns, "-inf,1", &t)[0]));
  EXPECT_EQ(Row(columns, "1e-60,1", &t)[0], 0);
  EXPECT_EQ(Row(columns, " +0.1 ,1", &t)[0], 0.1f);
}

TEST(Csv, RefusesWhatDoesNotFit) {
  const auto model = Model({"a", "b"});
  EXPECT_THROW(CsvColumns("t,a", model, "f"), xst::Error);
  EXPECT_THROW(CsvColumns("1,2", model, "f"), xst::Error);
  EXPECT_THROW(CsvColumns("", model, "f"), xst::Error);
  EXPECT_THROW(CsvColumns("u,v,w", model, "f"), xst::Error);
  const CsvColumns columns("t,a,b", model, "f");
  for (const char* row :
       {"1,2", "1,2,3,4", "1,x,2", "x,1,2", ",1,2", "nan,1,2", "1,2 3,4", "1,1e50,2", ""}) {
    double t = 0;
    float x[2];
    xst::Fault fault;
    EXPECT_NE(columns.Parse(row, &t, x, &fault), xst::Status::ok) << row;
    EXPECT_NE(std::string(fault.message).find("expected"), std::string::npos) << row;
  }
}

Checkpoint Some(uint64_t seq) {
  Checkpoint c;
  c.epoch = 99;
  c.seq = seq;
  c.position = seq + 1;
  c.clock = {true, true, false, 2.5, 8};
  c.session.assign(100, std::byte{static_cast<unsigned char>(seq)});
  return c;
}

TEST(StateDir, NewestOfTwoSlotsComesBack) {
  const Folder folder;
  for (uint64_t seq = 1; seq <= 5; ++seq) {
    StateDir state(folder / "s");
    const auto before = state.Read("ecg");
    EXPECT_EQ(before.checkpoint.has_value(), seq > 1);
    Checkpoint c = Some(seq);
    state.Write("ecg", &c);
    const auto found = state.Read("ecg");
    ASSERT_TRUE(found.checkpoint);
    EXPECT_EQ(found.checkpoint->seq, seq);
    EXPECT_EQ(found.checkpoint->generation, seq);
    EXPECT_EQ(found.checkpoint->epoch, 99u);
    EXPECT_EQ(found.checkpoint->position, seq + 1);
    EXPECT_EQ(found.checkpoint->clock.t, 2.5);
    EXPECT_EQ(found.checkpoint->clock.seq, 8u);
    EXPECT_TRUE(found.checkpoint->clock.has_t);
    EXPECT_FALSE(found.checkpoint->clock.has_seq);
    EXPECT_EQ(found.checkpoint->session, c.session);
  }
}

TEST(StateDir, EveryTornWriteLeavesTheOtherSlot) {
  const Folder folder;
  StateDir state(folder / "s");
  for (uint64_t seq = 1; seq <= 2; ++seq) {
    Checkpoint c = Some(seq);
    state.Write("ecg", &c);
  }
  const std::string newest = folder / "s/ecg.b";
  const auto size = fs::file_size(newest);
  for (auto length = size; length-- > 0;) {
    fs::resize_file(newest, length);
    const auto found = state.Read("ecg");
    ASSERT_TRUE(found.checkpoint) << length;
    EXPECT_EQ(found.checkpoint->seq, 1u);
    EXPECT_FALSE(found.warning.empty());
  }
  Checkpoint c = Some(3);
  state.Write("ecg", &c);  // over the torn slot, not over the valid one
  fs::remove(newest);
  EXPECT_EQ(state.Read("ecg").checkpoint->seq, 1u);
}

TEST(StateDir, EveryFlippedByteIsSeen) {
  const Folder folder;
  StateDir state(folder / "s");
  Checkpoint c = Some(1);
  state.Write("ecg", &c);
  const std::string path = folder / "s/ecg.a";
  const auto size = static_cast<std::streamoff>(fs::file_size(path));
  for (std::streamoff i = 0; i < size; ++i) {
    std::fstream file(path, std::ios::binary | std::ios::in | std::ios::out);
    file.seekg(i);
    const char old = static_cast<char>(file.get());
    const auto put = [&](char value) {
      file.seekp(i);
      file.put(value);
      file.flush();
    };
    put(static_cast<char>(old ^ 0x10));
    try {
      EXPECT_FALSE(state.Read("ecg").checkpoint) << i;
    } catch (const xst::Error& e) {
      EXPECT_EQ(e.code(), xst::Status::unsupported_version) << i;
    }
    put(old);
  }
  EXPECT_TRUE(state.Read("ecg").checkpoint);
}

TEST(StateDir, TwoBrokenSlotsAreNotForgottenSilently) {
  const Folder folder;
  StateDir state(folder / "s");
  for (const char* slot : {"s/ecg.a", "s/ecg.b"}) std::ofstream(folder / slot) << "junk";
  try {
    state.Read("ecg");
    FAIL() << "read junk";
  } catch (const xst::Error& e) {
    EXPECT_NE(std::string(e.what()).find("remove " + (folder / "s/ecg.a")), std::string::npos)
        << e.what();
  }
}

TEST(StateDir, AnotherStreamsFileIsRefused) {
  const Folder folder;
  StateDir state(folder / "s");
  Checkpoint c = Some(1);
  state.Write("a", &c);
  fs::rename(folder / "s/a.a", folder / "s/b.a");
  const auto found = state.Read("b");
  EXPECT_FALSE(found.checkpoint);
  EXPECT_NE(found.warning.find("state of stream b"), std::string::npos);
}

TEST(StateDir, OneDaemonAFolder) {
  const Folder folder;
  const StateDir first(folder / "s");
  EXPECT_THROW(StateDir(folder / "s"), xst::Error);
}

TEST(StateDir, PathsThatAreNoFolder) {
  const Folder folder;
  std::ofstream(folder / "file") << "x";
  EXPECT_THROW(StateDir(folder / "file"), xst::Error);
  EXPECT_THROW(StateDir(folder / "file/below"), xst::Error);
  EXPECT_THROW(StateDir("/proc/nowhere/state"), xst::Error);
}

}  // namespace
}  // namespace xstd
