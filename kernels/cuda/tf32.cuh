// Float products on tensor cores: both sides split into two numbers of 11 bits, three products of
// four (what the fourth adds is below 2^-22).
#pragma once

#include <cstdint>

#include "kernels/cuda/weights.cuh"

namespace xst::kernels::cuda {

// A number rounded to what the tensor core takes (11 significant bits), and what that leaves, of
// which the tensor core takes the first 11 bits. A NaN stays one through `low`.
struct Halves {
  uint32_t high, low;
};
__device__ inline Halves Split(float v) {
  const uint32_t high = (__float_as_uint(v) + 0x1000u) & 0xffffe000u;
  return {high, __float_as_uint(v - __uint_as_float(high))};
}

// d += a b, 16 x 8 tokens by 8 x 8 columns.
__device__ inline void MultiplyAdd(float (&d)[4], const uint32_t (&a)[4], uint32_t b0,
                                   uint32_t b1) {
  asm("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
      "{%0,%1,%2,%3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

__device__ inline void Load4(const float* from, float (&v)[4]) {
  const float4 r = *reinterpret_cast<const float4*>(from);
  v[0] = r.x, v[1] = r.y, v[2] = r.z, v[3] = r.w;
}
__device__ inline void Load4(const uint16_t* from, float (&v)[4]) {
  const uint2 r = *reinterpret_cast<const uint2*>(from);
  v[0] = __uint_as_float(r.x << 16), v[1] = __uint_as_float(r.x & 0xffff0000u);
  v[2] = __uint_as_float(r.y << 16), v[3] = __uint_as_float(r.y & 0xffff0000u);
}
__device__ inline void Load4(const int16_t* from, float (&v)[4]) {
  const short4 r = *reinterpret_cast<const short4*>(from);
  v[0] = r.x, v[1] = r.y, v[2] = r.z, v[3] = r.w;
}
__device__ inline void Load4(const int8_t* from, float (&v)[4]) {
  const char4 r = *reinterpret_cast<const char4*>(from);
  v[0] = r.x, v[1] = r.y, v[2] = r.z, v[3] = r.w;
}

// Numbers of 8 bits are exact as the tensor core takes them.
template <class W>
inline constexpr bool kExactWeights = false;
template <>
inline constexpr bool kExactWeights<WeightBf16> = true;
template <>
inline constexpr bool kExactWeights<WeightI8> = true;

}  // namespace xst::kernels::cuda
