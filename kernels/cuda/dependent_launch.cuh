// Kernels that start while their predecessor in the stream still runs (programmatic dependent
// launch). Each calls WaitForPredecessor() before it reads anything the predecessor writes or
// writes anything, and only then LetSuccessorStart(): so when a kernel starts, everything before
// its predecessor has finished, and what was written there (a state of the step before) may be read
// before the wait. The mLSTM cell of a decode lets its successor start sooner (mlstm_decode.h).
#pragma once

#include <cuda_runtime.h>

#include <utility>

namespace xst::kernels::cuda {

__device__ inline void WaitForPredecessor() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}
__device__ inline void LetSuccessorStart() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}

// Launches kernel<<<grid, block, shared, stream>>>(args...), if `dependent` as one that may start
// early: its predecessor in the stream must be such a kernel or the first of a chain of them.
template <class... Params, class... Args>
cudaError_t LaunchKernel(void (*kernel)(Params...), dim3 grid, dim3 block, size_t shared,
                         bool dependent, cudaStream_t stream, Args&&... args) {
  cudaLaunchAttribute attribute = {};
  attribute.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  attribute.val.programmaticStreamSerializationAllowed = 1;
  cudaLaunchConfig_t config = {};
  config.gridDim = grid;
  config.blockDim = block;
  config.dynamicSmemBytes = shared;
  config.stream = stream;
  config.attrs = &attribute;
  config.numAttrs = dependent ? 1 : 0;
  return cudaLaunchKernelEx(&config, kernel, std::forward<Args>(args)...);
}

}  // namespace xst::kernels::cuda
