// A model's ops as the launches that run them, chosen by what fits the shapes.
#pragma once

#include <cuda_runtime_api.h>

#include <optional>
#include <vector>

#include "kernels/cuda/frames.h"
#include "kernels/cuda/gemv.h"
#include "kernels/cuda/large_stack.h"
#include "kernels/cuda/stack.h"
#include "kernels/ops.h"
#include "sdk/plan.h"

namespace xst::cuda {

// Thread-safe once made. Wide arithmetic takes the plain kernel of every op; float takes, where
// they fit, whole blocks at once.
template <class T>
class Program {
 public:
  // `ops` are the Plan's with device pointers, and outlive this.
  Program(const Plan& plan, const std::vector<kernels::Op>& ops,
          const kernels::cuda::DeviceShape& device);

  // One step of the active lanes; capturable.
  cudaError_t Step(const kernels::cuda::Frames<T>& frames, cudaStream_t stream) const;

  // Bytes that Steps needs beside the frames.
  size_t workspace(uint32_t lanes, uint32_t steps) const;
  // Several steps of the active lanes.
  cudaError_t Steps(const kernels::cuda::Sequence<T>& sequence, void* workspace,
                    cudaStream_t stream) const;

  const std::optional<kernels::cuda::LargeStack>& large() const { return large_; }

 private:
  cudaError_t StepOps(kernels::Range ops, const kernels::cuda::Frames<T>& frames,
                      cudaStream_t stream) const;

  const std::vector<kernels::Op>& ops_;
  const kernels::cuda::DeviceShape device_;
  std::optional<kernels::cuda::Stack> stack_;
  std::optional<kernels::cuda::LargeStack> large_;
};

}  // namespace xst::cuda
