// A row of a matrix times a vector, by one warp.
#pragma once

#include "kernels/cuda/math.cuh"
#include "kernels/cuda/weights.cuh"

namespace xst::kernels::cuda {

// sum_k w[k] x[k], scaled; every thread of the warp gets the same bits.
template <class W, class T>
__device__ T WarpDot(const typename W::Element* w, float scale, const T* x, uint32_t cols) {
  T sum = 0;
  for (uint32_t k = threadIdx.x % 32; k < cols; k += 32) {
    float v = W::Number(w[k]);
    if constexpr (W::kScaled) v *= scale;
    sum = MulAdd(static_cast<T>(v), x[k], sum);
  }
  return SumOver<32>(sum);
}

}  // namespace xst::kernels::cuda
