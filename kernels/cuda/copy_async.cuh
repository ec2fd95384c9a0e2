// Asynchronous copies from global to shared memory.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

namespace xst::kernels::cuda {

// Shared memory by asynchronous copies; `bytes` of 16 (or 4) are read, the rest becomes zero.
__device__ inline void CopyAsync16(void* shared, const void* global, uint32_t bytes) {
  const auto to = static_cast<uint32_t>(__cvta_generic_to_shared(shared));
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(global), "r"(bytes)
               : "memory");
}
// The same through L1, for what several blocks of a multiprocessor read.
__device__ inline void CopyAsync16Cached(void* shared, const void* global) {
  const auto to = static_cast<uint32_t>(__cvta_generic_to_shared(shared));
  asm volatile("cp.async.ca.shared.global [%0], [%1], 16;" ::"r"(to), "l"(global) : "memory");
}
__device__ inline void CopyAsync4(void* shared, const void* global, uint32_t bytes) {
  const auto to = static_cast<uint32_t>(__cvta_generic_to_shared(shared));
  asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(to), "l"(global), "r"(bytes)
               : "memory");
}
__device__ inline void CommitCopies() { asm volatile("cp.async.commit_group;" ::: "memory"); }
template <int kPending>
__device__ void WaitCopies() {
  asm volatile("cp.async.wait_group %0;" ::"n"(kPending) : "memory");
}

}  // namespace xst::kernels::cuda
