// The physical limit of a step on this machine, measured where the step runs.
#pragma once

#include <cstdint>
#include <memory>

#include "sdk/model.h"

namespace xst {

// What the memory traffic of a step costs: the model's weight bytes read once, from where they lie,
// and the state bytes of all streams read, changed and written once, in memory like theirs and of
// random values, with the vectors of the model's instruction set. On the calling thread; for one
// stream on cpu:N on the threads that run its step, each its N-th at the same time. One thread at a
// time.
class LimitMeter {
 public:
  // Throws Error if there is no memory.
  LimitMeter(std::shared_ptr<const Model> model, uint32_t streams);
  ~LimitMeter();
  LimitMeter(LimitMeter&&) noexcept;
  LimitMeter& operator=(LimitMeter&&) noexcept;

  // Microseconds of one pass, on cpu:N the slowest thread's. Of more than 1 GiB it moves that much
  // and scales the time up: beyond every cache it grows with size. NaN on `reference`, on a device
  // with memory of its own, and while another thread steps a stream of the model on cpu:N.
  double Micros() noexcept;

  // Fills the caches of those threads with other memory. False, and nothing done, where Micros() is
  // NaN or there is no memory.
  bool Evict() noexcept;

 private:
  struct Traffic;
  std::unique_ptr<Traffic> traffic_;
};

// On cpu:N the CPU that the threads of the model leave to the caller; else -1: any.
int CallerCpu(const Model& model);

}  // namespace xst
