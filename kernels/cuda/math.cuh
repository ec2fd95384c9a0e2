// The elementary functions of the specification, in float and double.
#pragma once

#include <cuda_runtime.h>

namespace xst::kernels::cuda {

__device__ inline float MulAdd(float a, float b, float c) { return fmaf(a, b, c); }
__device__ inline double MulAdd(double a, double b, double c) { return fma(a, b, c); }

template <class T>
__device__ T Sigmoid(T a) {
  return T(1) / (T(1) + exp(-a));
}
template <class T>
__device__ T Silu(T a) {
  return a / (T(1) + exp(-a));
}
// min(a, 0) - log1p(exp(-|a|))
template <class T>
__device__ T LogSigmoid(T a) {
  return fmin(a, T(0)) - log1p(exp(-fabs(a)));
}

// As a snapshot keeps it: wide frames round their state to float after every step.
__device__ inline float Rounded(float v) { return v; }
__device__ inline double Rounded(double v) { return static_cast<double>(static_cast<float>(v)); }

// The sum over the kLanes (a power of two, up to 32) threads of a warp that lie together; every one
// of them gets the same bits.
template <int kLanes, class T>
__device__ T SumOver(T v) {
#pragma unroll
  for (int d = kLanes / 2; d > 0; d /= 2) v += __shfl_xor_sync(0xffffffffu, v, d);
  return v;
}

}  // namespace xst::kernels::cuda
