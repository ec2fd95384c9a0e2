// The physical limit of a step on this machine, measured where the step runs.
#pragma once

#include <memory>

#include "sdk/model.h"

namespace xst {

// What the memory traffic of a step costs: the model's weight bytes read once, from where they lie,
// and its state bytes read, changed and written once, in memory like a Session's and of random
// values. With the vectors of the model's instruction set, on the calling thread.
class LimitMeter {
 public:
  // Throws Error if there is no memory.
  explicit LimitMeter(std::shared_ptr<const Model> model);
  ~LimitMeter();
  LimitMeter(LimitMeter&&) noexcept;

  // Microseconds of one pass. Of more than 1 GiB it reads that much and scales the time up: beyond
  // every cache it grows with size. NaN where no limit is defined: on `reference`, and on a device
  // with memory of its own.
  double Micros();

 private:
  struct Traffic;
  std::unique_ptr<Traffic> traffic_;
};

}  // namespace xst
