// Chains of kernels that start early (dependent_launch.cuh) where the loaded code knows how to
// wait, with all the shared memory they ask for.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "kernels/cuda/dependent_launch.cuh"
#include "kernels/cuda/shared_memory.h"

namespace xst::kernels::cuda {

template <class... Args>
cudaError_t LaunchChained(void (*kernel)(Args...), dim3 grid, uint32_t threads, size_t shared,
                          cudaStream_t stream, Args... args) {
  if (const cudaError_t error = AllowShared(kernel, shared); error != cudaSuccess) return error;
  cudaFuncAttributes code;
  if (const cudaError_t error = cudaFuncGetAttributes(&code, kernel); error != cudaSuccess) {
    return error;
  }
  // Code built for an older architecture has no wait in it, whatever the device.
  const bool dependent = code.ptxVersion >= 90 && code.binaryVersion >= 90;
  return LaunchKernel(kernel, grid, dim3(threads), shared, dependent, stream, args...);
}

}  // namespace xst::kernels::cuda
