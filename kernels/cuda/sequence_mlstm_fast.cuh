// Pieces of the chunkwise mLSTM with bf16 factors and float32 sums: see sequence_mlstm.cuh.
#pragma once

#include "kernels/cuda/sequence_mlstm.cuh"

namespace xst::kernels::cuda::sequence {

using Bf16 = __nv_bfloat16;

constexpr int kSlice = 32;                   // columns of C of a block
constexpr int kMostBlocks = 4;               // 64 columns of q and k each
constexpr int kStrideP = 72, kStrideV = 40;  // ldmatrix meets no bank twice
constexpr int kTiles = kSlice / 16;          // m16n8 tiles of half a slice

template <int kBlocks>
struct alignas(16) FastMemory {
  static constexpr int kDk = 64 * kBlocks, kStrideQ = kDk + 8;
  ChunkGates gates[3];    // of chunk % 3: two are on their way while one is read
  float sums[2][kChunk];  // of each half of a row of P
  float dots[kChunk];     // q_t n
  alignas(16) Bf16 n[kDk];
  alignas(16) Bf16 last[kChunk];  // ChunkGates::last with the scale of k
  alignas(16) Bf16 p[kChunk * kStrideP];
  alignas(16) Bf16 v[kChunk * kStrideV], weighted[kChunk * kStrideV];
  alignas(16) Bf16 c[kDk * kStrideV];
  alignas(16) Bf16 qk[2][2][kChunk * kStrideQ];  // of even and odd chunks
};

__device__ inline uint32_t PackBf16(float a, float b) {
  const __nv_bfloat162 pair = __floats2bfloat162_rn(a, b);
  return *reinterpret_cast<const uint32_t*>(&pair);
}

// q and k as bf16, [lanes * heads][chunks][q, k][kChunk][dk] with zeros where nothing is.
template <int kDk>
__global__ void __launch_bounds__(256)
    ConvertKernel(MlstmCell o, Sequence<float> s, uint32_t chunks, bool vector, uint32_t vectors,
                  Bf16* qk) {
  const uint32_t index = blockIdx.x * 256 + threadIdx.x;
  if (index >= vectors) return;
  constexpr int kVectors = kDk / 8;
  const int column = index % kVectors * 8;
  uint32_t rest = index / kVectors;
  const uint32_t row = rest % kChunk;
  rest /= kChunk;
  const bool key = rest % 2;
  rest /= 2;
  const uint32_t t = rest % chunks * kChunk + row;
  rest /= chunks;
  const uint32_t head = rest % o.heads;
  const size_t lane = rest / o.heads;
  uint4 packed = {};
  const int dk = o.dk;
  if (t < s.steps && column < dk) {
    const float* from = s.tokens.data + (lane * s.steps + t) * s.tokens.stride + (key ? o.k : o.q) +
                        head * dk + column;
    float f[8] = {};
    if (vector) {
      *reinterpret_cast<float4*>(f) = *reinterpret_cast<const float4*>(from);
      if (column + 4 < dk) {
        *reinterpret_cast<float4*>(f + 4) = *reinterpret_cast<const float4*>(from + 4);
      }
    } else {
#pragma unroll
      for (int i = 0; i < 8; ++i) {
        if (column + i < dk) f[i] = from[i];
      }
    }
    packed = {PackBf16(f[0], f[1]), PackBf16(f[2], f[3]), PackBf16(f[4], f[5]),
              PackBf16(f[6], f[7])};
  }
  reinterpret_cast<uint4*>(qk)[index] = packed;
}

// sum += a b for 16 rows of b from `row` on and two tiles from `column` on.
__device__ inline void TwoTiles(const Bf16* b, int row, int column, const uint32_t (&a)[4],
                                Tile (&sum)[2]) {
  const int i = threadIdx.x % 32 / 8, r = threadIdx.x % 8;
  uint32_t f[4];
  LoadTransposed(f, b + (row + i % 2 * 8 + r) * kStrideV + column + i / 2 * 8);
  MmaBf16(sum[0], a, f[0], f[1]);
  MmaBf16(sum[1], a, f[2], f[3]);
}

// sum += a b for a column b of 16 numbers: column 0 of a tile.
__device__ inline void OneColumn(const Bf16* b, const WarpPart& p, const uint32_t (&a)[4],
                                 Tile& sum) {
  const auto* pairs = reinterpret_cast<const uint32_t*>(b);
  const uint32_t low = pairs[p.t], high = pairs[p.t + 4];
  MmaBf16(sum, a, p.g == 0 ? low : 0, p.g == 0 ? high : 0);
}

// s += q k^T for kPairs pairs of tiles, out += q C, and dot += q n.
template <int kDk, int kPairs, bool kDot>
__device__ void Query(const WarpPart& p, const Bf16* q, const Bf16* k, const Bf16* c, const Bf16* n,
                      Tile (&s)[4], Tile (&out)[kTiles], Tile& dot) {
  constexpr int kStrideQ = kDk + 8;
  const int i = threadIdx.x % 32 / 8, r = threadIdx.x % 8;
  q += (p.row + i % 2 * 8 + r) * kStrideQ + i / 2 * 8;
  k += (p.half * 32 + i / 2 * 8 + r) * kStrideQ + i % 2 * 8;
#pragma unroll 4
  for (int d = 0; d < kDk; d += 16) {
    uint32_t a[4];
    LoadMatrices(a, q + d);
#pragma unroll
    for (int m = 0; m < kPairs; ++m) {
      uint32_t b[4];
      LoadMatrices(b, k + m * 16 * kStrideQ + d);
      MmaBf16(s[2 * m], a, b[0], b[1]);
      MmaBf16(s[2 * m + 1], a, b[2], b[3]);
    }
    TwoTiles(c, d, p.half * (kSlice / 2), a, out);
    if constexpr (kDot) OneColumn(n + d, p, a, dot);
  }
}

// C = decay C + k^T v for a warp's part of C, and, if kN, n likewise; k: what this thread's
// ldmatrix starts from.
template <int kBlocks, bool kN>
__device__ void Gain(const WarpPart& p, const Bf16* k, const Bf16* v, const Bf16* last, float decay,
                     Tile (&c)[kBlocks][kTiles], float (&n)[kBlocks][2]) {
  constexpr int kStrideQ = 64 * kBlocks + 8;
  Tile more[kBlocks] = {};
#pragma unroll
  for (int b = 0; b < kBlocks; ++b) {
#pragma unroll
    for (int i = 0; i < kTiles; ++i) {
#pragma unroll
      for (int e = 0; e < 4; ++e) c[b][i][e] *= decay;
    }
  }
#pragma unroll 2
  for (int t = 0; t < kChunk; t += 16) {
#pragma unroll
    for (int b = 0; b < kBlocks; ++b) {
      uint32_t a[4];
      LoadTransposed(a, k + t * kStrideQ + b * 64);
      TwoTiles(v, t, p.half * (kSlice / 2), a, c[b]);
      if constexpr (kN) OneColumn(last + t, p, a, more[b]);
    }
  }
  if constexpr (kN) {
#pragma unroll
    for (int b = 0; b < kBlocks; ++b) {
      n[b][0] = fmaf(decay, n[b][0], more[b][0]);
      n[b][1] = fmaf(decay, n[b][1], more[b][2]);
    }
  }
}

}  // namespace xst::kernels::cuda::sequence
