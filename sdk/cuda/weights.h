// A Plan's weights in device memory.
#pragma once

#include <cstddef>
#include <vector>

#include "kernels/ops.h"
#include "sdk/cuda/memory.h"

namespace xst::cuda {

// Copies every weight that `ops` name to the current device, matrices as layout `rows`, and makes
// the ops name the copies. What several ops share is copied once.
class Weights {
 public:
  cudaError_t Upload(std::vector<kernels::Op>* ops);

 private:
  DeviceBuffer<std::byte> memory_;
};

}  // namespace xst::cuda
