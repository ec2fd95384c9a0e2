// Stored weights whose type a kernel learns when it runs.
#pragma once

#include "kernels/cuda/weights.cuh"

namespace xst::kernels::cuda {

// A stored matrix whose type is known when the kernel runs.
struct AnyMatrix {
  const void* data;
  const float* scale;  // null: none
  const float* bias;   // null: none
  uint32_t row_stride;
  DType dtype;

  __device__ float Number(size_t i) const {
    switch (dtype) {
      case DType::f32:
        return static_cast<const float*>(data)[i];
      case DType::bf16:
        return WeightBf16::Number(static_cast<const uint16_t*>(data)[i]);
      case DType::i16:
        return WeightI16::Number(static_cast<const int16_t*>(data)[i]);
      case DType::i8:
        return WeightI8::Number(static_cast<const int8_t*>(data)[i]);
    }
    return 0;
  }
  // Numbers i .. i + 3, i a multiple of 4.
  __device__ float4 Numbers4(size_t i) const {
    if (dtype == DType::f32)
      return *reinterpret_cast<const float4*>(static_cast<const float*>(data) + i);
    if (dtype == DType::bf16) {
      const uint2 r = *reinterpret_cast<const uint2*>(static_cast<const uint16_t*>(data) + i);
      return {__uint_as_float(r.x << 16), __uint_as_float(r.x & 0xffff0000u),
              __uint_as_float(r.y << 16), __uint_as_float(r.y & 0xffff0000u)};
    }
    if (dtype == DType::i16) {
      const short4 r = *reinterpret_cast<const short4*>(static_cast<const int16_t*>(data) + i);
      return {static_cast<float>(r.x), static_cast<float>(r.y), static_cast<float>(r.z),
              static_cast<float>(r.w)};
    }
    const char4 r = *reinterpret_cast<const char4*>(static_cast<const int8_t*>(data) + i);
    return {static_cast<float>(r.x), static_cast<float>(r.y), static_cast<float>(r.z),
            static_cast<float>(r.w)};
  }
  // A row's sum with its scale and bias.
  __device__ float Finished(float sum, uint32_t row) const {
    if (scale) sum *= scale[row];
    return bias ? sum + bias[row] : sum;
  }
};

inline AnyMatrix AnyMatrixOf(const Matrix& w, const float* bias) {
  return {w.data, w.scale, bias, static_cast<uint32_t>(RowStride(w.dtype, w.cols)), w.dtype};
}

}  // namespace xst::kernels::cuda
