// What the system grants a thread that steps: memory that stays, priority, CPUs of its own.
#pragma once

#include <pthread.h>

#include <cstdint>
#include <vector>

namespace xst::stream {

struct ThreadOptions {
  uint32_t priority = 0;  // SCHED_FIFO, 1 to 99; 0: as the process
  std::vector<int> cpus;  // empty: any
  bool operator==(const ThreadOptions&) const = default;
};

// Throws Error that says what to grant.
void Apply(const ThreadOptions& options, pthread_t thread);

// Locks all memory of the process, now and later (mlockall). Threads that start afterwards have a
// small stack, for all of it is locked too. Throws Error that says what to grant.
void LockMemory();

}  // namespace xst::stream
