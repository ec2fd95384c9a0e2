// Session::step allocates nothing, takes no lock, makes no system call and causes no page fault.
#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>

#include "sdk/forecast.h"
#include "sdk/generate.h"
#include "tests/support/realtime_hooks.h"
#include "tests/support/vectors.h"

namespace xst {
namespace {

// Steps that see finite, missing and extreme values.
void StepMany(Session& session, int count) {
  const ModelInfo& info = session.model()->info();
  static float in[256], out[256];
  for (int t = 0; t < count; ++t) {
    if (info.tokens) {
      session.step(t % formats::VocabSize(info.config), {out, info.output_width});
      continue;
    }
    for (uint32_t i = 0; i < info.input_width; ++i) {
      in[i] = t % 7 == 3 ? NAN : (t % 11 == 5 ? 1e30f : static_cast<float>((t * 31 + i) % 17) - 8);
    }
    session.step({in, info.input_width}, {out, info.output_width});
  }
}

class RealTime : public testing::TestWithParam<std::string> {};

TEST_P(RealTime, AllocatesAndLocksNothing) {
#ifdef XST_SANITIZED
  GTEST_SKIP() << "the sanitizer owns malloc";
#else
  const auto model = test::OpenCase(GetParam());
  Session session(model);
  std::vector<std::byte> snapshot(model->info().snapshot_bytes);
  const uint64_t allocated = allocations, locked = locks;
  StepMany(session, 1000);
  session.save(snapshot);
  session.reset();
  EXPECT_EQ(allocations, allocated);
  EXPECT_EQ(locks, locked);
  // The hooks themselves work.
  void* volatile used = std::malloc(1);
  std::free(used);
  pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
  pthread_mutex_lock(&mutex);
  pthread_mutex_unlock(&mutex);
  EXPECT_GT(allocations, allocated);
  EXPECT_GT(locks, locked);
#endif
}

TEST_P(RealTime, MakesNoSystemCall) {
  const auto model = test::OpenCase(GetParam());
  Session session(model);
  const auto run = [&](bool misbehave) {
    return test::InChild([&] {
      if (!test::ForbidSystemCalls()) _exit(test::kNoSeccomp);
      StepMany(session, 1000);
      session.reset();
      if (misbehave) syscall(SYS_getppid);
      syscall(SYS_exit_group, 0);
    });
  };
  const int status = run(false);
  if (test::Exited(status, test::kNoSeccomp)) GTEST_SKIP() << "no seccomp here";
  EXPECT_TRUE(test::Exited(status, 0)) << "status " << status;
  EXPECT_TRUE(WIFSIGNALED(run(true)));  // the trap itself works
}

TEST_P(RealTime, CausesNoPageFault) {
#ifdef XST_SANITIZED
  GTEST_SKIP() << "the sanitizer's shadow faults";
#else
  Session session(test::OpenCase(GetParam()));
  StepMany(session, 1);  // this function's own stack and buffers
  EXPECT_EQ(test::PageFaults([&] { StepMany(session, 1000); }), 0);
#endif
}

TEST(RealTimeParts, SamplingAndForecastingAllocateNothing) {
#ifdef XST_SANITIZED
  GTEST_SKIP() << "the sanitizer owns malloc";
#else
  std::vector<float> logits(1000);
  for (size_t i = 0; i < logits.size(); ++i) logits[i] = static_cast<float>(i * 7919 % 1000) / 99;
  Sampler sampler(1000, {.temperature = 1, .top_k = 100, .top_p = 0.9});
  Forecaster forecaster(test::OpenCase("tirex/01_small"));
  std::vector<float> out(forecaster.config().forecast.horizon * forecaster.quantiles());
  std::vector<std::byte> snapshot(forecaster.snapshot_bytes());
  const uint64_t allocated = allocations, locked = locks;
  uint32_t token;
  for (int t = 0; t < 100; ++t) {
    ASSERT_EQ(sampler.Next(logits, &token), Status::ok);
    forecaster.push(t % 7 == 3 ? NAN : static_cast<float>(t));
    if (forecaster.due()) {
      ASSERT_EQ(forecaster.forecast(out), Status::ok);
    }
  }
  forecaster.save(snapshot);
  forecaster.reset();
  EXPECT_EQ(allocations, allocated);
  EXPECT_EQ(locks, locked);
#endif
}

INSTANTIATE_TEST_SUITE_P(Models, RealTime,
                         testing::Values("block_stack/readme_config", "block_stack/odd_sizes",
                                         "block_stack/lm_tied", "stream/forecaster",
                                         "large/01_single_defaults", "tirex/01_small"),
                         [](const auto& param) {
                           std::string name = param.param;
                           for (char& ch : name) ch = ch == '/' ? '_' : ch;
                           return name;
                         });

}  // namespace
}  // namespace xst
