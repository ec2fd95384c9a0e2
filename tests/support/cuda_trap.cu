#include "tests/support/cuda_trap.h"

#include <cuda_runtime.h>

namespace xst::test {
namespace {

__global__ void Trap() { asm volatile("trap;"); }

}  // namespace

bool TrapDevice() {
  Trap<<<1, 1>>>();
  return cudaDeviceSynchronize() != cudaSuccess;
}

void* TakeDeviceMemory(size_t leave) {
  constexpr size_t kStep = size_t{2} << 20;
  size_t free = 0, total = 0;
  if (cudaMemGetInfo(&free, &total) != cudaSuccess) return nullptr;
  // Not all that is free can be had in one piece.
  for (; free > leave + kStep; free -= kStep) {
    void* taken = nullptr;
    if (cudaMalloc(&taken, free - leave) == cudaSuccess) return taken;
    cudaGetLastError();
  }
  return nullptr;
}

void GiveDeviceMemory(void* taken) { cudaFree(taken); }

}  // namespace xst::test
