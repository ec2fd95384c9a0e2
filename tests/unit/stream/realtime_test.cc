// What the system refuses is said, with what to grant.
#include "sdk/stream/realtime.h"

#include <gtest/gtest.h>
#include <sched.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cstdio>
#include <functional>
#include <string>

#include "formats/status.h"

namespace xst::stream {
namespace {

// In a child without rights; its message goes to the test.
[[noreturn]] void Unprivileged(const std::function<void()>& f) {
  const rlimit none{0, 0};
  setrlimit(RLIMIT_RTPRIO, &none);
  setrlimit(RLIMIT_MEMLOCK, &none);
  if (getuid() == 0 && setuid(65534) != 0) _exit(2);
  try {
    f();
  } catch (const Error& e) {
    std::fprintf(stderr, "%s\n", e.what());
    _exit(1);
  }
  _exit(0);
}

TEST(RealtimeDeathTest, RefusalsSayWhatToGrant) {
#ifdef XST_EMULATED
  GTEST_SKIP() << "it starts itself, which an emulator does not do";
#endif
  testing::GTEST_FLAG(death_test_style) = "threadsafe";
  ThreadOptions options;
  options.priority = 50;
  EXPECT_EXIT(Unprivileged([&] { Apply(options, pthread_self()); }), testing::ExitedWithCode(1),
              "realtime.priority: expected .*SCHED_FIFO at 50, got .*CAP_SYS_NICE.*LimitRTPRIO");
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)  // which lock nothing
  EXPECT_EXIT(Unprivileged([] { LockMemory(); }), testing::ExitedWithCode(1),
              "realtime.lock_memory: expected .*, got .*CAP_IPC_LOCK.*LimitMEMLOCK");
#endif
}

TEST(Realtime, PinsToCpusThatAreThere) {
  cpu_set_t allowed, got;
  ASSERT_EQ(sched_getaffinity(0, sizeof(allowed), &allowed), 0);
  int first = 0;
  while (!CPU_ISSET(first, &allowed)) ++first;
  ThreadOptions options;
  options.cpus = {first};
  Apply(options, pthread_self());
  ASSERT_EQ(sched_getaffinity(0, sizeof(got), &got), 0);
  EXPECT_EQ(CPU_COUNT(&got), 1);
  EXPECT_TRUE(CPU_ISSET(first, &got));
  sched_setaffinity(0, sizeof(allowed), &allowed);
  options.cpus = {CPU_SETSIZE - 1};
  try {
    Apply(options, pthread_self());
    FAIL();
  } catch (const Error& e) {
    EXPECT_NE(
        std::string(e.what()).find("CPUs that this process may use (" + std::to_string(first)),
        std::string::npos)
        << e.what();
  }
}

}  // namespace
}  // namespace xst::stream
