// Which lane and which part of it a block works on, and sums over a block.
#pragma once

#include <cuda_runtime.h>

#include "kernels/cuda/frames.h"
#include "kernels/cuda/math.cuh"

namespace xst::kernels::cuda {

// Blocks are numbered lane-major: block = lane * parts + part.
struct Part {
  uint32_t lane, index;
};
__device__ inline Part PartOf(uint32_t parts) { return {blockIdx.x / parts, blockIdx.x % parts}; }

template <class T>
__device__ bool IsActive(const Frames<T>& f, size_t lane) {
  return !f.active || f.active[lane];
}

// The frame of a lane; null if the lane is inactive.
template <class T>
__device__ T* ActiveFrame(const Frames<T>& f, uint32_t lane) {
  return IsActive(f, lane) ? f.data + size_t{lane} * f.stride : nullptr;
}

// The sum of v over the block, the same bits in every thread. `scratch`: 33 elements of shared
// memory, free again after the next barrier.
template <class T>
__device__ T BlockSum(T v, T* scratch) {
  v = SumOver<32>(v);
  const uint32_t warps = (blockDim.x + 31) / 32;
  __syncthreads();
  if (threadIdx.x % 32 == 0) scratch[threadIdx.x / 32] = v;
  __syncthreads();
  T sum = 0;
  for (uint32_t w = 0; w < warps; ++w) sum += scratch[w];
  return sum;
}

// The mean of x[0 .. n) relative to x[0], and 1 / sqrt(var + eps): (x - x[0] - mean) * scale is the
// normalised value, exactly 0 where all are equal.
template <class T>
struct Centering {
  T first, mean, scale;
  __device__ T operator()(T x) const { return (x - first - mean) * scale; }
};
template <class T>
__device__ Centering<T> Center(const T* x, uint32_t n, T eps, T* scratch) {
  const T first = x[0];
  T sum = 0;
  for (uint32_t i = threadIdx.x; i < n; i += blockDim.x) sum += x[i] - first;
  const T mean = BlockSum(sum, scratch) / T(n);
  T squares = 0;
  for (uint32_t i = threadIdx.x; i < n; i += blockDim.x) {
    const T d = x[i] - first - mean;
    squares = MulAdd(d, d, squares);
  }
  return {first, mean, T(1) / sqrt(BlockSum(squares, scratch) / T(n) + eps)};
}

// A whole number of warps, enough for n threads, at most 256.
inline uint32_t ThreadsFor(uint32_t n) {
  const uint32_t threads = (n + 31) / 32 * 32;
  return threads < 256 ? threads : 256;
}

}  // namespace xst::kernels::cuda
