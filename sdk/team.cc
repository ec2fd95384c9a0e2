#include "sdk/team.h"

#include <linux/futex.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <climits>

#include "kernels/kernels.h"
#include "sdk/cpus.h"

namespace xst {
namespace {

// A wait within a job takes a microsecond or two. One that lasts longer than these many looks
// (some ten microseconds) waits for a thread that is off its CPU: it gives its own away, and after
// as many yields sleeps a little, as a yield lets no thread of lower priority run.
constexpr int kLooks = 400, kYields = 400;
constexpr timespec kNap = {0, 50'000};

// A job that waited longer than this in such waits, and more than half of its time, was late: the
// machine is busy, and one thread alone is faster. Waking a worker takes less.
constexpr int64_t kLateNanoseconds = 200'000;
constexpr uint32_t kFirstPause = 16, kLongestPause = 1024;  // jobs

using Clock = std::chrono::steady_clock;

int64_t NanosecondsSince(Clock::time_point start) {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(Clock::now() - start).count();
}

constexpr size_t kStackBytes = size_t{512} << 10;

std::atomic<uint32_t> forks{0};

void CountForks() {
  [[maybe_unused]] static const int registered =
      pthread_atfork(nullptr, nullptr, [] { forks.fetch_add(1, std::memory_order_relaxed); });
}

void Pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__) || defined(__arm__)
  asm volatile("yield");
#endif
}

long Futex(std::atomic<uint32_t>* word, int what, uint32_t value) {
  static_assert(sizeof *word == sizeof(uint32_t));
  return syscall(SYS_futex, word, what, value, nullptr, nullptr, 0);
}

void PinTo(pthread_t thread, int cpu) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(cpu, &set);
  pthread_setaffinity_np(thread, sizeof set, &set);  // best effort
}

}  // namespace

Team::Team(uint32_t members) : lines_(members), forks_(forks) {}

Status Team::Create(uint32_t members, std::unique_ptr<Team>* out, Fault* fault) {
  CountForks();
  std::unique_ptr<Team> team(new Team(members));
  const std::vector<int> cpus = ChooseCpus(members);
  team->crowded_ = cpus.size() < members;
  if (!cpus.empty()) team->home_ = cpus[0];
  team->workers_.reserve(members - 1);

  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  pthread_attr_setstacksize(&attributes, kStackBytes);
  sigset_t all, before;  // signals are for the application's own threads
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  int error = 0;
  for (uint32_t m = 1; m < members && error == 0; ++m) {
    team->workers_.push_back({{}, team.get(), m});
    Worker& worker = team->workers_.back();
    error = pthread_create(&worker.thread, &attributes, Start, &worker);
    if (error != 0) {
      team->workers_.pop_back();
    } else if (!cpus.empty()) {
      PinTo(worker.thread, cpus[m % cpus.size()]);
    }
  }
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  pthread_attr_destroy(&attributes);
  if (error != 0) {
    return fault->Set(Status::out_of_memory, "device: expected %u threads more, got %zu (%s)",
                      members - 1, team->workers_.size(), strerror(error));
  }
  *out = std::move(team);
  return Status::ok;
}

Team::~Team() {
  if (forks.load(std::memory_order_relaxed) != forks_) return;  // they are not in this process
  Begin(nullptr, nullptr);
  for (const Worker& worker : workers_) pthread_join(worker.thread, nullptr);
}

void* Team::Start(void* worker) {
  const auto* w = static_cast<const Worker*>(worker);
  w->team->Work(w->member);
  return nullptr;
}

void Team::Work(uint32_t member) noexcept {
  const kernels::FlushDenormals flush;
  Line& line = lines_[member];
  for (;;) {
    AwaitJob(static_cast<uint32_t>(line.job));
    ++line.job;
    if (!job_) return;
    job_(*this, member, arg_);
    Publish(member, kLastPoint);
  }
}

void Team::AwaitJob(uint32_t last) noexcept {
  Clock::time_point asleep_at;
  for (int looks = 1;; ++looks) {
    if (job_number_.load(std::memory_order_acquire) != last) return;
    Pause();
    if (looks % 64 != 0) continue;
    const auto now = Clock::now();
    if (looks == 64) asleep_at = now + std::chrono::microseconds(kAwakeMicros);
    if (now >= asleep_at) break;
    if (crowded_) sched_yield();
  }
  // Either Begin sees a sleeper, or the sleeper the job.
  sleepers_.fetch_add(1, std::memory_order_seq_cst);
  while (job_number_.load(std::memory_order_seq_cst) == last) {
    Futex(&job_number_, FUTEX_WAIT_PRIVATE, last);
  }
  sleepers_.fetch_sub(1, std::memory_order_relaxed);
}

void Team::Begin(Job job, void* arg) noexcept {
  job_ = job;
  arg_ = arg;
  ++lines_[0].job;
  job_number_.store(static_cast<uint32_t>(lines_[0].job), std::memory_order_seq_cst);
  if (sleepers_.load(std::memory_order_seq_cst) > 0) {
    Futex(&job_number_, FUTEX_WAKE_PRIVATE, INT_MAX);
  }
}

bool Team::Run(Job job, void* arg, bool always) noexcept {
  if (forks.load(std::memory_order_relaxed) != forks_) return false;
  if (busy_.load(std::memory_order_relaxed) || busy_.exchange(true, std::memory_order_acquire)) {
    return false;
  }
  if (left_out_ > 0 && !always) {
    --left_out_;
    busy_.store(false, std::memory_order_release);
    return false;
  }
  const Clock::time_point start = Clock::now();
  lines_[0].waited = 0;
  Begin(job, arg);
  job(*this, 0, arg);
  Publish(0, kLastPoint);
  Wait(0, kLastPoint);
  if (lines_[0].waited > kLateNanoseconds && gives_up_ && !always) {
    Judge(NanosecondsSince(start));
  } else if (!always) {
    pause_ = 0;
  }
  busy_.store(false, std::memory_order_release);
  return true;
}

void Team::Publish(uint32_t member, uint32_t point) noexcept {
  Line& line = lines_[member];
  line.reached.store(line.job << kPointBits | point, std::memory_order_release);
}

void Team::Judge(int64_t nanoseconds) noexcept {
  const bool late = lines_[0].waited > nanoseconds / 2;
  pause_ = late ? std::min(std::max(2 * pause_, kFirstPause), kLongestPause) : 0;
  left_out_ = pause_;
}

void Team::Wait(uint32_t member, uint32_t point) noexcept {
  Line& line = lines_[member];
  const uint64_t value = line.job << kPointBits | point;
  for (uint32_t m = 0; m < lines_.size(); ++m) {
    if (m != member) line.waited += WaitFor(lines_[m].reached, value);
  }
}

// The nanoseconds of a long wait, else 0.
int64_t Team::WaitFor(const std::atomic<uint64_t>& reached, uint64_t value) const noexcept {
  const auto late = [&] { return reached.load(std::memory_order_acquire) < value; };
  for (int looks = crowded_ ? kLooks : 0; late(); ++looks) {
    if (looks < kLooks) {
      Pause();
      continue;
    }
    const Clock::time_point start = Clock::now();
    for (int yields = 0; late(); ++yields) {
      if (yields < kYields) {
        sched_yield();
      } else {
        nanosleep(&kNap, nullptr);
      }
    }
    return NanosecondsSince(start);
  }
  return 0;
}

}  // namespace xst
