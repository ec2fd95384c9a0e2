// A team of threads that a job is split over: the caller and workers that wait for it, spinning for
// a while and then asleep.
#pragma once

#include <pthread.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

#include "formats/status.h"

namespace xst {

// Largest number of members.
inline constexpr uint32_t kMaxMembers = 64;

// Workers look for the next job this long after the last one, then sleep until there is one.
inline constexpr int kAwakeMicros = 100;

class Team {
 public:
  // What member `member` does of a job; member 0 is the caller of Run. Must not throw.
  using Job = void (*)(Team& team, uint32_t member, void* arg);

  // Starts members - 1 workers, each on a CPU of its own where there are enough: the CPU that the
  // calling thread is on is left to it. out_of_memory if the system refuses a thread.
  static Status Create(uint32_t members, std::unique_ptr<Team>* out, Fault* fault);
  ~Team();
  Team(const Team&) = delete;
  Team& operator=(const Team&) = delete;

  uint32_t members() const { return static_cast<uint32_t>(lines_.size()); }
  // Workers that sleep now.
  uint32_t asleep() const { return sleepers_.load(std::memory_order_relaxed); }
  // The CPU left to the caller; -1: none in particular.
  int home() const { return home_; }

  // Runs a job on all members and returns when all are done. Any thread may call; false, and
  // nothing has been done, while another thread's job runs, in a forked child, which has no
  // workers, and for some calls after one that mostly waited for members without a CPU: 16 the
  // first time, then twice as many up to 1,024, until one does not. Takes no lock and allocates
  // nothing. It makes a system call only to wake workers that sleep, or while a member that has no
  // CPU is waited for.
  // With `always` a late job before it is no reason to refuse, and it is none for those after it.
  bool Run(Job job, void* arg, bool always = false) noexcept;

  // For tests: with false such a job changes nothing for the next ones.
  void set_gives_up(bool gives_up) { gives_up_ = gives_up; }

  // In a job: says that this member has reached `point` (rising, below kLastPoint), with all it has
  // written; and waits until all others have.
  static constexpr int kPointBits = 20;
  static constexpr uint32_t kLastPoint = (uint32_t{1} << kPointBits) - 1;  // the job is done
  void Publish(uint32_t member, uint32_t point) noexcept;
  void Wait(uint32_t member, uint32_t point) noexcept;

 private:
  // Cache lines come in pairs.
  struct alignas(128) Line {
    std::atomic<uint64_t> reached{0};  // job << kPointBits | point
    uint64_t job = 0;                  // its own count
    int64_t waited = 0;                // in long waits of this job, nanoseconds
  };
  struct Worker {
    pthread_t thread;
    Team* team;
    uint32_t member;
  };

  explicit Team(uint32_t members);
  static void* Start(void* worker);
  void Work(uint32_t member) noexcept;
  void AwaitJob(uint32_t last) noexcept;
  void Begin(Job job, void* arg) noexcept;
  int64_t WaitFor(const std::atomic<uint64_t>& reached, uint64_t value) const noexcept;
  void Judge(int64_t nanoseconds) noexcept;

  std::vector<Line> lines_;  // of the members
  std::vector<Worker> workers_;
  int home_ = -1;
  bool crowded_ = false;  // fewer CPUs than members
  uint32_t forks_;        // of the process before the team was made

  alignas(128) std::atomic<uint32_t> job_number_{0};  // what workers watch, and sleep on
  Job job_ = nullptr;                                 // null: leave
  void* arg_ = nullptr;
  alignas(128) std::atomic<uint32_t> sleepers_{0};
  alignas(128) std::atomic<bool> busy_{false};
  // Of who has set it.
  bool gives_up_ = true;
  uint32_t pause_ = 0, left_out_ = 0;  // jobs to refuse after the next late one, and now
};

}  // namespace xst
