// A step of cpu:N allocates nothing, takes no lock, faults no page, and makes a system call only to
// wake workers or to wait for one that has no CPU.
#include <errno.h>
#include <gtest/gtest.h>
#include <pthread.h>
#include <sched.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <cstdlib>

#include "sdk/session.h"
#include "tests/support/realtime_hooks.h"
#include "tests/support/vectors.h"

// Counts what a thread does outside the spin phase, and makes threads fail to start.
namespace {
thread_local uint64_t yields = 0;
std::atomic<int> threads_left{1000};
}  // namespace

extern "C" {
int sched_yield() {
  ++yields;
  return static_cast<int>(syscall(SYS_sched_yield));
}
#ifndef XST_SANITIZED
int pthread_create(pthread_t* thread, const pthread_attr_t* attributes, void* (*start)(void*),
                   void* arg) {
  if (--threads_left < 0) return EAGAIN;
  static auto* const libc =
      reinterpret_cast<decltype(&pthread_create)>(dlsym(RTLD_NEXT, "pthread_create"));
  return libc(thread, attributes, start, arg);
}
#endif
}

namespace xst {
namespace {

constexpr char kReadme[] = "block_stack/readme_config";

void StepMany(Session& session, int count) {
  static float in[256], out[256];
  const ModelInfo& info = session.model()->info();
  for (int t = 0; t < count; ++t) {
    for (uint32_t i = 0; i < info.input_width; ++i) in[i] = static_cast<float>((t + i) % 17) - 8;
    session.step({in, info.input_width}, {out, info.output_width});
  }
}

// From here on a system call of this thread, but for those a busy machine or sleepers need, kills
// the process.
bool ForbidOtherSystemCalls() {
  sock_filter program[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_exit_group, 4, 0),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_sched_yield, 3, 0),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_futex, 2, 0),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_clock_nanosleep, 1, 0),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  const sock_fprog filter{7, program};
  return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
         prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) == 0;
}

TEST(TeamRealTime, AllocatesAndLocksNothing) {
#ifdef XST_SANITIZED
  GTEST_SKIP() << "the sanitizer owns malloc";
#else
  Session session(test::OpenCase(kReadme, "", "cpu:2"));
  const uint64_t allocated = allocations, locked = locks;
  StepMany(session, 1000);
  session.reset();
  EXPECT_EQ(allocations, allocated);
  EXPECT_EQ(locks, locked);
#endif
}

TEST(TeamRealTime, CausesNoPageFault) {
#ifdef XST_SANITIZED
  GTEST_SKIP() << "the sanitizer's shadow faults";
#else
  Session session(test::OpenCase(kReadme, "", "cpu:2"));
  StepMany(session, 1);
  EXPECT_EQ(test::PageFaults([&] { StepMany(session, 1000); }), 0);
#endif
}

// In a process of its own: a filter stays with its thread.
TEST(TeamRealTime, MakesNoSystemCallWhileAllSpin) {
#ifdef XST_SANITIZED
  GTEST_SKIP() << "the sanitizer makes its own";
#else
  const std::string path = test::PackedCase(kReadme);
  const int status = test::InChild([&] {
    Options options;
    options.device.threads = 2;
    Session session(Model::open(path, options));
    StepMany(session, 10);
    if (!ForbidOtherSystemCalls()) _exit(test::kNoSeccomp);
    int quiet = 0;
    for (int i = 0; i < 2000; ++i) {
      const uint64_t before = yields;
      StepMany(session, 1);
      quiet += yields == before;
    }
    syscall(SYS_exit_group, quiet > 0 ? 0 : 1);
  });
  if (test::Exited(status, test::kNoSeccomp)) GTEST_SKIP() << "no seccomp here";
  EXPECT_TRUE(test::Exited(status, 0)) << "status " << status;
#endif
}

TEST(TeamRealTime, SaysThatAThreadDidNotStart) {
#ifdef XST_SANITIZED
  GTEST_SKIP() << "the sanitizer starts threads";
#else
  test::PackedCase(kReadme);
  for (int started : {0, 1, 2}) {
    threads_left = started;
    try {
      test::OpenCase(kReadme, "", "cpu:4");
      ADD_FAILURE() << started;
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), Status::out_of_memory);
      const std::string want = "expected 3 threads more, got " + std::to_string(started);
      EXPECT_NE(std::string(e.what()).find(want), std::string::npos) << e.what();
    }
  }
  threads_left = 1000;
  Session session(test::OpenCase(kReadme, "", "cpu:4"));
  StepMany(session, 1);
#endif
}

}  // namespace
}  // namespace xst
