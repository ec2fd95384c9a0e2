// What xst.h promises to a real-time thread: no allocation, lock, system call or page fault, also
// where a call fails, on a thread that has called nothing before.
#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <thread>

#include "bindings/c/xst.h"
#include "tests/support/realtime_hooks.h"
#include "tests/support/vectors.h"

namespace {

struct Stream {
  explicit Stream(const char* name) {
    const std::string path = xst::test::PackedCase(name);
    EXPECT_EQ(xst_model_open(path.c_str(), nullptr, &model), XST_OK);
    info.struct_bytes = sizeof info;
    EXPECT_EQ(xst_model_get_info(model, &info), XST_OK);
    EXPECT_EQ(xst_session_create(model, &session), XST_OK);
    snapshot.resize(info.snapshot_bytes);
  }
  ~Stream() {
    xst_session_destroy(session);
    xst_model_destroy(model);
  }
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;

  void Run(int count) {
    static float in[256], out[256];
    for (int t = 0; t < count; ++t) {
      for (uint32_t i = 0; i < info.input_width; ++i) {
        in[i] = t % 7 == 3 ? NAN : static_cast<float>((t * 31 + static_cast<int>(i)) % 17) - 8;
      }
      xst_session_step(session, in, info.input_width, out, info.output_width);
      xst_session_step(session, in, info.input_width + 1, out, info.output_width);
      xst_session_step(session, nullptr, 0, out, info.output_width);
      xst_session_step_token(session, t, out, info.output_width);
      xst_session_step_token(session, -1, out, info.output_width);
      if (xst_session_quality(session) > 255 || xst_session_steps(session) == ~0ull) std::abort();
    }
    xst_session_save(session, snapshot.data(), snapshot.size());
    xst_session_save(session, snapshot.data(), 1);
    xst_session_reset(session);
  }

  xst_model* model = nullptr;
  xst_session* session = nullptr;
  xst_model_info info = {};
  std::vector<std::byte> snapshot;
};

class CRealTime : public testing::TestWithParam<const char*> {};

TEST_P(CRealTime, AllocatesAndLocksNothing) {
#ifdef XST_SANITIZED
  GTEST_SKIP() << "the sanitizer owns malloc";
#else
  Stream stream(GetParam());
  uint64_t allocated = 1, locked = 1;
  std::thread([&] {
    const uint64_t a = allocations, l = locks;
    stream.Run(1000);
    allocated = allocations - a;
    locked = locks - l;
  }).join();
  EXPECT_EQ(allocated, 0u);
  EXPECT_EQ(locked, 0u);
#endif
}

TEST_P(CRealTime, MakesNoSystemCallAndNoPageFault) {
  Stream stream(GetParam());
  const int status = xst::test::InChild([&] {
    stream.Run(1);  // the child's own copies of written pages
    if (!xst::test::ForbidSystemCalls()) _exit(xst::test::kNoSeccomp);
    stream.Run(1000);
    syscall(SYS_exit_group, 0);
  });
  if (xst::test::Exited(status, xst::test::kNoSeccomp)) GTEST_SKIP() << "no seccomp here";
  EXPECT_TRUE(xst::test::Exited(status, 0)) << "status " << status;
#ifndef XST_SANITIZED
  stream.Run(1);
  EXPECT_EQ(xst::test::PageFaults([&] { stream.Run(1000); }), 0);
#endif
}

INSTANTIATE_TEST_SUITE_P(Models, CRealTime,
                         testing::Values("block_stack/odd_sizes", "block_stack/lm_tied",
                                         "stream/forecaster"));

}  // namespace
