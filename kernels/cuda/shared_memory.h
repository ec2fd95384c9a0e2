// How much shared memory a kernel may be launched with.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>

namespace xst::kernels::cuda {

// Bytes of shared memory that one block of the current device may have; 0 if that is unknown.
inline size_t SharedLimit() {
  int device = 0, bytes = 0;
  if (cudaGetDevice(&device) != cudaSuccess ||
      cudaDeviceGetAttribute(&bytes, cudaDevAttrMaxSharedMemoryPerBlockOptin, device) !=
          cudaSuccess) {
    return 0;
  }
  return static_cast<size_t>(bytes);
}

// Lets launches of `kernel` ask for `bytes` of dynamic shared memory, and for all that there is:
// always the same, as other threads may be about to launch it with more.
template <class Kernel>
cudaError_t AllowShared(Kernel kernel, size_t bytes) {
  if (bytes <= 48 * 1024) return cudaSuccess;
  cudaFuncAttributes code;
  const cudaError_t error = cudaFuncGetAttributes(&code, reinterpret_cast<const void*>(kernel));
  if (error != cudaSuccess) return error;
  return cudaFuncSetAttribute(reinterpret_cast<const void*>(kernel),
                              cudaFuncAttributeMaxDynamicSharedMemorySize,
                              static_cast<int>(SharedLimit() - code.sharedSizeBytes));
}

}  // namespace xst::kernels::cuda
