#include "sdk/stream/realtime.h"

#include <sched.h>
#include <sys/mman.h>
#include <sys/resource.h>

#include <cerrno>
#include <cstring>
#include <string>

#include "formats/status.h"

namespace xst::stream {
namespace {

constexpr size_t kStack = size_t{1} << 20;

std::string Describe(const cpu_set_t& set) {
  std::string text;
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (!CPU_ISSET(cpu, &set)) continue;
    int last = cpu;
    while (last + 1 < CPU_SETSIZE && CPU_ISSET(last + 1, &set)) ++last;
    text += (text.empty() ? "" : ", ") + std::to_string(cpu);
    if (last > cpu) text += "-" + std::to_string(last);
    cpu = last;
  }
  return text;
}

std::string Limit(rlim_t limit) {
  return limit == RLIM_INFINITY ? "no limit" : std::to_string(limit);
}

void Pin(const std::vector<int>& cpus, pthread_t thread) {
  cpu_set_t wanted, allowed;
  CPU_ZERO(&wanted);
  CPU_ZERO(&allowed);
  sched_getaffinity(0, sizeof(allowed), &allowed);
  std::string names;
  for (const int cpu : cpus) {
    names += (names.empty() ? "" : ", ") + std::to_string(cpu);
    if (cpu < 0 || cpu >= CPU_SETSIZE || !CPU_ISSET(cpu, &allowed)) {
      throw Error(Status::invalid_argument,
                  "realtime.cpus: expected CPUs that this process may use (" + Describe(allowed) +
                      "), got " + std::to_string(cpu));
    }
    CPU_SET(cpu, &wanted);
  }
  if (const int error = pthread_setaffinity_np(thread, sizeof(wanted), &wanted)) {
    throw Error(Status::io_error,
                "realtime.cpus: expected to run on " + names + ", got " + std::strerror(error));
  }
}

}  // namespace

void Apply(const ThreadOptions& options, pthread_t thread) {
  if (!options.cpus.empty()) Pin(options.cpus, thread);
  if (options.priority == 0) return;
  sched_param param{};
  param.sched_priority = static_cast<int>(options.priority);
  const int error = pthread_setschedparam(thread, SCHED_FIFO, &param);
  if (error == 0) return;
  rlimit limit{};
  getrlimit(RLIMIT_RTPRIO, &limit);
  throw Error(Status::io_error,
              "realtime.priority: expected to be allowed SCHED_FIFO at " +
                  std::to_string(options.priority) + ", got " + std::strerror(error) +
                  "; grant CAP_SYS_NICE, or LimitRTPRIO= (ulimit -r) of at least that (now " +
                  Limit(limit.rlim_cur) + ")");
}

void LockMemory() {
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  pthread_attr_setstacksize(&attributes, kStack);
  pthread_setattr_default_np(&attributes);
  pthread_attr_destroy(&attributes);
  if (mlockall(MCL_CURRENT | MCL_FUTURE) == 0) return;
  const int error = errno;
  rlimit limit{};
  getrlimit(RLIMIT_MEMLOCK, &limit);
  throw Error(Status::io_error,
              std::string("realtime.lock_memory: expected to be allowed mlockall, got ") +
                  std::strerror(error) +
                  "; grant CAP_IPC_LOCK, or LimitMEMLOCK=infinity (ulimit -l; now " +
                  Limit(limit.rlim_cur) + " bytes)");
}

}  // namespace xst::stream
