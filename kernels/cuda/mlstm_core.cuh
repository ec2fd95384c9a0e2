// What the kernel of mlstm_lanes.cuh is given, where it keeps things, and how C travels.
#pragma once

#include "kernels/cuda/any_matrix.cuh"

namespace xst::kernels::cuda {

struct MlstmCore {
  uint32_t heads, dim, channels;
  uint32_t kernel;  // of the convolution; 0: none
  const float *conv_weight, *conv_bias;
  uint32_t conv_stride;
  AnyMatrix q, k, v;  // block-diagonal
  uint32_t block;
  AnyMatrix gates;
  float cell_eps, gate_cap;
  float key_scale, query_scale;
  uint32_t stride_c, stride_n;
  const float *out_weight, *out_bias, *skip;
  float out_offset, out_eps;
  bool out_sigmoid;
  Slot a, z, y;
  Slot history, c, n, m;
  bool streaming;  // the state of all lanes does not stay in the L2 cache
};

inline constexpr uint32_t kMostTaps = 4;

// Floats of shared memory. By channel: a, c; q, k, v; the output gate; the weights of the
// convolution and of the output, (normalised h * scale + shift + skip * c) * gate. Then gates, a
// warp's part of h and q . n, staged weights.
struct MlstmCoreShared {
  uint32_t a, c, qkv, gate, taps, bias, scale, shift, skip, gates, parts, weights, block, size;
  __host__ __device__ MlstmCoreShared(uint32_t heads, uint32_t channels, uint32_t block_columns,
                                      uint32_t threads, uint32_t columns, bool staged) {
    a = 0;
    c = a + channels;
    qkv = c + channels;
    gate = qkv + 3 * channels;
    taps = gate + channels;
    bias = taps + kMostTaps * channels;
    scale = bias + channels;
    shift = scale + channels;
    skip = shift + channels;
    gates = skip + channels;
    parts = (gates + 2 * heads + 3) / 4 * 4;
    weights = parts + threads / 32 * (columns + 4);
    block = weights + (staged ? 2 * heads * 3 * channels : 0);
    size = block + (staged ? 3 * channels * ((block_columns + 3) / 4 * 4) : 0);
  }
};

// The way of C: once through, past L1, and out of L2 before anything else if it will not stay.
struct StatePolicy {
  uint64_t policy;
  __device__ explicit StatePolicy(bool streaming) {
    if (streaming) {
      asm("createpolicy.fractional.L2::evict_first.b64 %0, 1.0;" : "=l"(policy));
    } else {
      asm("createpolicy.fractional.L2::evict_normal.b64 %0, 1.0;" : "=l"(policy));
    }
  }
  // v stays as it is without `wanted`; a predicate, where a branch a value would cost more.
  __device__ void LoadIf(bool wanted, const float* from, float4* v) const {
    asm volatile(
        "{\n.reg .pred p;\nsetp.ne.u32 p, %6, 0;\n"
        "@p ld.global.L1::no_allocate.L2::cache_hint.v4.f32 {%0,%1,%2,%3}, [%4], %5;\n}"
        : "+f"(v->x), "+f"(v->y), "+f"(v->z), "+f"(v->w)
        : "l"(from), "l"(policy), "r"(static_cast<uint32_t>(wanted)));
  }
  __device__ float4 Load(const float* from) const {
    float4 v;
    asm volatile("ld.global.L1::no_allocate.L2::cache_hint.v4.f32 {%0,%1,%2,%3}, [%4], %5;"
                 : "=f"(v.x), "=f"(v.y), "=f"(v.z), "=f"(v.w)
                 : "l"(from), "l"(policy));
    return v;
  }
  __device__ void Store(float* to, float4 v) const {
    asm volatile(
        "st.global.L1::no_allocate.L2::cache_hint.v4.f32 [%0], {%1,%2,%3,%4}, %5;" ::"l"(to),
        "f"(v.x), "f"(v.y), "f"(v.z), "f"(v.w), "l"(policy));
  }
};

// Threads of a head: enough that no thread holds more than 16 of its quadruples.
__host__ __device__ constexpr int MlstmHeadThreads(int columns) {
  return columns <= 8 ? 32 : columns * columns / 4;
}

}  // namespace xst::kernels::cuda
