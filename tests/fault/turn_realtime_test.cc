// The step of a live stream, Stream::Turn, with all that can happen to it: no allocation, lock,
// system call or page fault. XST_TRAP_STEPS says how many turns.
#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>

#include "sdk/stream/stream.h"
#include "tests/support/realtime_hooks.h"
#include "tests/support/vectors.h"

namespace xst::stream {
namespace {

uint64_t Steps() {
  const char* text = std::getenv("XST_TRAP_STEPS");
  return text ? std::strtoull(text, nullptr, 10) : 20'000;
}

// A stream and its other sides on one thread. Every wait is without a doorbell, as the step is.
class Live {
 public:
  Live(const std::string& model, OnFull on_full)
      : stream_(test::OpenCase(model), {.name = "s", .queue = 8, .on_full = on_full}, 7),
        in_(stream_.info().input_width),
        y_(stream_.info().output_width),
        x_(in_.size()) {}

  // Numbered samples with gaps short and long, duplicates, missing and extreme values, full rings
  // and checkpoints now and then.
  void Play(uint64_t samples) {
    for (uint64_t i = 0; i < samples; ++i) {
      SampleHead head;
      head.receive_ns = NowNs();
      head.has_t = head.has_seq = true;
      seq_ += i % 13 == 5 ? 0 : i % 17 == 9 ? 4 : i % 1001 == 500 ? 300 : 1;
      head.seq = seq_;
      head.t = static_cast<double>(seq_) / 100;
      for (float& v : in_) {
        v = i % 7 == 3 ? NAN : i % 11 == 5 ? 1e30f : static_cast<float>(i * 31 % 17) - 8;
      }
      stream_.Offer(head, in_, {});
      if (i % 64 == 0) stream_.RequestCheckpoint();
      if (i % 12 != 0 && i % 40 < 30) continue;  // more wait than there is room for
      OutputHead out;
      while (stream_.Turn()) {
        while (stream_.Take(&out, y_, x_)) stream_.MarkPublished();
      }
      checkpoints_ += stream_.FetchCheckpoint() != nullptr;
    }
  }

  StreamCounts counts() const { return stream_.counts(); }
  uint64_t checkpoints() const { return checkpoints_; }

 private:
  Stream stream_;
  std::vector<float> in_, y_, x_;
  uint64_t seq_ = 0, checkpoints_ = 0;
};

class TurnRealTime : public testing::TestWithParam<std::string> {};

TEST_P(TurnRealTime, AllocatesLocksAndFaultsNothing) {
#ifdef XST_SANITIZED
  GTEST_SKIP() << "the sanitizer owns malloc";
#else
  Live live(GetParam(), OnFull::drop_oldest);
  live.Play(2000);
  const uint64_t allocated = allocations, locked = locks;
  EXPECT_EQ(test::PageFaults([&] { live.Play(Steps()); }), 0);
  EXPECT_EQ(allocations, allocated);
  EXPECT_EQ(locks, locked);
  const StreamCounts c = live.counts();
  EXPECT_GT(c.outputs, 0u);
  EXPECT_GT(c.duplicates, 0u);
  EXPECT_GT(live.checkpoints(), 0u);
#endif
}

TEST_P(TurnRealTime, MakesNoSystemCall) {
  const auto run = [](const auto& work) {
    return test::InChild([&] {
      if (!test::ForbidSystemCalls()) _exit(test::kNoSeccomp);
      work();
      syscall(SYS_exit_group, 0);
    });
  };
  int64_t now = 0;
  const int clock = run([&] { now = NowNs(); });
  if (test::Exited(clock, test::kNoSeccomp)) GTEST_SKIP() << "no seccomp here";
  if (WIFSIGNALED(clock)) GTEST_SKIP() << "this machine's clock is a system call";
  Live live(GetParam(), OnFull::drop_oldest);
  live.Play(2000);
  const int status = run([&] { live.Play(Steps()); });
  EXPECT_TRUE(test::Exited(status, 0)) << "status " << status;
}

INSTANTIATE_TEST_SUITE_P(Models, TurnRealTime,
                         testing::Values("stream/forecaster", "stream/classifier",
                                         "block_stack/odd_sizes", "tirex/01_small"),
                         [](const auto& param) {
                           std::string name = param.param;
                           for (char& ch : name) ch = ch == '/' ? '_' : ch;
                           return name;
                         });

}  // namespace
}  // namespace xst::stream
