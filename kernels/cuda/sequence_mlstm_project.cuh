// q, k and v of a chunk of the mLSTM, made in shared memory by block-diagonal matrices of four by
// four.
#pragma once

#include "kernels/cuda/sequence_mlstm.cuh"

namespace xst::kernels::cuda::sequence {

// The blocks of four channels that make q, k or v, in the eight floats that a tile's rows have
// between them: of channel 4 g + i of kAcross groups behind row i kAcross + g, at `at`.
template <int kStride, int kAcross>
struct Blocks {
  float* at;

  // `channels` of them exist, `first` is the first one's row of o.w.
  __device__ void Fill(const BlockLinear& o, int first, int channels) const {
    const auto* w = static_cast<const float*>(o.w.data) + first * RowStride(DType::f32, 4);
    for (int c = threadIdx.x; c < channels; c += kChunkThreads) {
      *reinterpret_cast<float4*>(at + (c % 4 * kAcross + c / 4) * kStride) =
          *reinterpret_cast<const float4*>(w + c * RowStride(DType::f32, 4));
    }
  }
  struct Group {
    float4 row[4], bias;
    __device__ float4 operator()(const float4& x) const {
      const auto dot = [&](const float4& w) {
        return fmaf(w.w, x.w, fmaf(w.z, x.z, fmaf(w.y, x.y, w.x * x.x)));
      };
      return {dot(row[0]) + bias.x, dot(row[1]) + bias.y, dot(row[2]) + bias.z,
              dot(row[3]) + bias.w};
    }
  };
  __device__ Group Read(const BlockLinear& o, int first, int group) const {
    Group g;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      g.row[i] = *reinterpret_cast<const float4*>(at + (i * kAcross + group) * kStride);
    }
    g.bias = {};
    if (o.bias) {
      const float* bias = o.bias + first + group * 4;
      g.bias = {bias[0], bias[1], bias[2], bias[3]};
    }
    return g;
  }
};

// A chunk's q and k, [kChunk][kStride], of what lies in k; `first`: the head's first channel.
template <int kStride>
struct HeadBlocks {
  static constexpr int kAcross = kTileK / 4, kStep = kChunkThreads / kAcross;
  float *q, *k;
  __device__ Blocks<kStride, kAcross> of_q() const { return {k + kTileK}; }
  __device__ Blocks<kStride, kAcross> of_k() const { return {k + kTileK + 4}; }
  __device__ void Fill(const Projections& p, int first, int dk) const {
    of_q().Fill(p.q, first, dk);
    of_k().Fill(p.k, first, dk);
  }
  __device__ void Project(const Projections& p, int first, int dk) const {
    const int group = threadIdx.x % kAcross, column = group * 4;
    const bool real = column < dk;  // in whole fours
    const auto wq = of_q().Read(p.q, first, real ? group : 0);
    const auto wk = of_k().Read(p.k, first, real ? group : 0);
#pragma unroll
    for (int row = threadIdx.x / kAcross; row < kChunk; row += kStep) {
      auto* to = reinterpret_cast<float4*>(k + row * kStride + column);
      const float4 x = *to;
      *reinterpret_cast<float4*>(q + row * kStride + column) = real ? wq(x) : float4{};
      if (real) *to = wk(x);
    }
  }
};

// The same of v's columns in place; the blocks lie in `blocks`, the first of v's buffers.
template <int kSlice, int kStride>
struct SliceBlocks {
  static constexpr int kAcross = kSlice / 4, kStep = kChunkThreads / kAcross;
  float* blocks;
  __device__ Blocks<kStride, kAcross> of_v() const { return {blocks + kSlice}; }
  __device__ void Fill(const Projections& p, int first, int columns) const {
    of_v().Fill(p.v, first, columns);
  }
  __device__ void Project(const Projections& p, int first, int columns, float* v) const {
    const int group = threadIdx.x % kAcross, column = group * 4;
    if (column >= columns) return;
    const auto w = of_v().Read(p.v, first, group);
#pragma unroll
    for (int row = threadIdx.x / kAcross; row < kChunk; row += kStep) {
      auto* at = reinterpret_cast<float4*>(v + row * kStride + column);
      *at = w(*at);
    }
  }
};

}  // namespace xst::kernels::cuda::sequence
