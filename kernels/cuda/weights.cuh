// Stored weights as numbers, in registers.
#pragma once

#include <cuda_bf16.h>

#include "kernels/cuda/frames.h"

namespace xst::kernels::cuda {

// A weight type: Element in memory, Number(e) before the row's scale, kScaled if there is one.
struct WeightF32 {
  using Element = float;
  static constexpr bool kScaled = false;
  static __device__ float Number(float e) { return e; }
};
struct WeightBf16 {
  using Element = uint16_t;
  static constexpr bool kScaled = false;
  static __device__ float Number(uint16_t e) { return __uint_as_float(uint32_t{e} << 16); }
};
struct WeightI16 {
  using Element = int16_t;
  static constexpr bool kScaled = true;
  static __device__ float Number(int16_t e) { return static_cast<float>(e); }
};
struct WeightI8 {
  using Element = int8_t;
  static constexpr bool kScaled = true;
  static __device__ float Number(int8_t e) { return static_cast<float>(e); }
};

// f(W()) for the weight type W of `t`: on the host to choose a kernel, on the device where weights
// are read once a tile.
template <class F>
__host__ __device__ void WithWeights(DType t, const F& f) {
  switch (t) {
    case DType::f32:
      return f(WeightF32());
    case DType::bf16:
      return f(WeightBf16());
    case DType::i16:
      return f(WeightI16());
    case DType::i8:
      return f(WeightI8());
  }
}

}  // namespace xst::kernels::cuda
