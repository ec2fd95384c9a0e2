// Pieces of the chunkwise mLSTM: its gates, and its four products in float.
//
// A chunk is kChunk steps t of one head. With b_t the sum of logsigmoid(f) over the chunk up to t,
// a_s = i_s - b_s, top_t = max(m_before, max over s <= t of a_s), and m_t = b_t + top_t:
//   h_t = (exp(m_before - top_t) q_t C + sum over s <= t of exp(a_s - top_t) (q_t k_s) v_s) / den
// so every exponent is at most 0 and is a difference of numbers of this chunk alone.
#pragma once

#include "kernels/cuda/frames.h"
#include "kernels/cuda/math.cuh"
#include "kernels/cuda/sequence_mma.cuh"

namespace xst::kernels::cuda::sequence {

inline constexpr int kChunk = 64;
inline constexpr int kTileK = 64;  // columns of q and k, rows of C, taken at once
inline constexpr int kChunkThreads = 256;

// a and top as hi + lo: b may reach hundreds while differences near 0 decide.
struct alignas(16) ChunkGates {
  float2 a[kChunk], top[kChunk];
  float before[kChunk];  // exp(m_before - top_t)
  float floor[kChunk];   // exp(-m_t)
  float last[kChunk];    // exp(a_s + b_last - m_last): what step s weighs at the end of the chunk
  float decay;           // what C from before weighs there
  float m;               // m_last
};

// Parts of a workspace.
struct Work {
  double* ends;       // [lanes * heads][dk + 1]: new n and m where several blocks read the old ones
  ChunkGates* gates;  // [lanes * heads][chunks]
  __nv_bfloat16* qk;  // of LaunchFast
  size_t bytes;       // up to qk
};
Work WorkIn(const MlstmCell& o, uint32_t lanes, uint32_t steps, void* workspace);

cudaError_t LaunchGates(const MlstmCell& o, const Sequence<float>& s, ChunkGates* gates,
                        cudaStream_t stream);

// The cell on chunks whose q and k are made of what o.k names, v of what o.v does.
struct Projections {
  BlockLinear q, k, v;
};
bool FitsProjected(const MlstmCell& o, const Projections& project, const Sequence<float>& s);
cudaError_t LaunchProjected(const MlstmCell& o, const Projections& project,
                            const Sequence<float>& s, const Work& work, cudaStream_t stream);

// With bf16 factors. Bytes at Work::qk.
bool FitsFast(const MlstmCell& o);
size_t FastBytes(const MlstmCell& o, uint32_t lanes, uint32_t steps);
cudaError_t LaunchFast(const MlstmCell& o, const Sequence<float>& s, const Work& work,
                       cudaStream_t stream);

inline int DeviceAttribute(cudaDeviceAttr which) {
  int device = 0, value = 0;
  cudaGetDevice(&device);
  cudaDeviceGetAttribute(&value, which, device);
  return value;
}

// Whether every head's row of q, k, v and h is 16-byte aligned and whole vectors long.
inline bool InVectors(const MlstmCell& o, const Sequence<float>& s) {
  const auto whole = [](size_t n) { return n % 4 == 0; };
  const auto aligned = [&](Slot at) {
    return reinterpret_cast<uintptr_t>(s.tokens.data + at) % 16 == 0;
  };
  return whole(o.dk) && whole(o.dv) && whole(s.tokens.stride) && aligned(o.q) && aligned(o.k) &&
         aligned(o.v) && aligned(o.h);
}

__device__ inline float2 HighLow(double v) {
  const auto hi = static_cast<float>(v);
  return {hi, static_cast<float>(v - hi)};
}

// What the gates of one chunk are before m_before is known; thread i of a warp has steps 2 i and
// 2 i + 1.
struct LocalGates {
  double a[2], b[2];
  double top;               // max of a up to step 2 i + 1
  double b_last, top_last;  // of the whole chunk
};

// raw: {i, f} of the thread's two steps. Steps from `steps` on weigh nothing.
__device__ inline LocalGates ScanGates(const float (&raw)[2][2], int steps, float cap) {
  const int thread = threadIdx.x % 32;
  LocalGates g;
  double sum = 0;
#pragma unroll
  for (int e = 0; e < 2; ++e) {
    const bool real = 2 * thread + e < steps;
    float i = raw[e][0], f = raw[e][1];
    if (cap > 0) {
      i = cap * tanhf(i / cap);
      f = cap * tanhf(f / cap);
    }
    if (real) sum += LogSigmoid(f);
    g.b[e] = sum;
    g.a[e] = real ? i : -HUGE_VAL;
  }
#pragma unroll
  for (int d = 1; d < 32; d *= 2) {
    const double up = __shfl_up_sync(0xffffffffu, sum, d);
    if (thread >= d) sum += up;
  }
  const double b_before = __shfl_up_sync(0xffffffffu, sum, 1);
#pragma unroll
  for (int e = 0; e < 2; ++e) {
    if (thread > 0) g.b[e] += b_before;
    g.a[e] -= g.b[e];
  }
  g.top = fmax(g.a[0], g.a[1]);
#pragma unroll
  for (int d = 1; d < 32; d *= 2) {
    const double up = __shfl_up_sync(0xffffffffu, g.top, d);
    if (thread >= d) g.top = fmax(g.top, up);
  }
  g.b_last = __shfl_sync(0xffffffffu, sum, 31);
  g.top_last = __shfl_sync(0xffffffffu, g.top, 31);
  return g;
}

// The m that the state keeps is a float: what is kept with it is weighed by that very number.
__device__ inline float LastM(double b_last, double top_last, float m_before) {
  return static_cast<float>(b_last + fmax(top_last, double{m_before}));
}

__device__ inline void SetGates(ChunkGates* to, const LocalGates& g, int steps, float m_before) {
  const int thread = threadIdx.x % 32;
  double top = __shfl_up_sync(0xffffffffu, g.top, 1);
  top = thread > 0 ? fmax(top, double{m_before}) : m_before;
  const float m = LastM(g.b_last, g.top_last, m_before);
#pragma unroll
  for (int e = 0; e < 2; ++e) {
    const int t = 2 * thread + e;
    const bool real = t < steps;
    top = fmax(top, g.a[e]);
    to->a[t] = real ? HighLow(g.a[e]) : make_float2(-HUGE_VALF, 0);
    to->top[t] = HighLow(top);
    to->before[t] = expf(static_cast<float>(m_before - top));
    to->floor[t] = expf(-static_cast<float>(g.b[e] + top));
    to->last[t] = real ? expf(static_cast<float>(g.a[e] + (g.b_last - m))) : 0;
  }
  if (thread == 0) {
    to->decay = expf(static_cast<float>(m_before + (g.b_last - m)));
    to->m = m;
  }
}

// Where a warp's part of a 64 x n product lies: 16 rows, half of the columns.
struct WarpPart {
  int row, half, g, t;
  __device__ WarpPart()
      : row(threadIdx.x / 32 % 4 * 16),
        half(threadIdx.x / 128),
        g(threadIdx.x % 32 / 4),
        t(threadIdx.x % 4) {}
};

__device__ inline void CopyGates(ChunkGates* to, const ChunkGates* from) {
  constexpr int kVectors = sizeof(ChunkGates) / 16;
  static_assert(kVectors <= kChunkThreads);
  if (threadIdx.x < kVectors) {
    CopyAsync<16>(reinterpret_cast<float4*>(to) + threadIdx.x,
                  reinterpret_cast<const float4*>(from) + threadIdx.x, true);
  }
}

// P = the weights of the steps s <= t times `scale` s: put(row, column, p, p of column + 1). sums
// gets the sums of rows row + g and row + g + 8 over the warp's columns.
template <class Put>
__device__ void SetP(const WarpPart& part, const ChunkGates& gates, float scale, const Tile (&s)[4],
                     float (&sums)[2], const Put& put) {
  sums[0] = sums[1] = 0;
#pragma unroll
  for (int n = 0; n < 4; ++n) {
    const int column = part.half * 32 + n * 8 + 2 * part.t;
    const float4 a = *reinterpret_cast<const float4*>(&gates.a[column]);
#pragma unroll
    for (int e = 0; e < 2; ++e) {
      const int row = part.row + part.g + 8 * e;
      const float2 top = gates.top[row];
      const float w0 = expf((a.x - top.x) + (a.y - top.y)) * scale;
      const float w1 = expf((a.z - top.x) + (a.w - top.y)) * scale;
      const float p0 = column <= row ? w0 * s[n][2 * e] : 0;
      const float p1 = column < row ? w1 * s[n][2 * e + 1] : 0;
      sums[e] += p0 + p1;
      put(row, column, p0, p1);
    }
  }
  sums[0] = SumOver<4>(sums[0]);
  sums[1] = SumOver<4>(sums[1]);
}

// 1 / den of step t, qn being q_t n with n from before the chunk, and sum the row's of P.
__device__ inline float OutScale(const ChunkGates& gates, int t, float qn, float sum, float eps) {
  return 1 / (fmaxf(fabsf(fmaf(qn, gates.before[t], sum)), gates.floor[t]) + eps);
}

// Rows row + 8 e of a warp's part of h.
template <int kSlice>
__device__ void StoreOut(const WarpPart& p, float* h, int e, float scale, int columns, bool vector,
                         const Tile (&out)[kSlice / 16]) {
#pragma unroll
  for (int i = 0; i < kSlice / 16; ++i) {
    const int column = p.half * (kSlice / 2) + i * 8 + 2 * p.t;
    const float a = out[i][2 * e] * scale, b = out[i][2 * e + 1] * scale;
    if (vector) {
      if (column < columns) *reinterpret_cast<float2*>(h + column) = {a, b};
    } else {
      if (column < columns) h[column] = a;
      if (column + 1 < columns) h[column + 1] = b;
    }
  }
}

// How many pairs of tiles of a warp's half of q k^T reach below the diagonal.
__device__ inline int PairsBelow(const WarpPart& p) {
  return max(0, min(2, (p.row - p.half * 32) / 16 + 1));
}

template <int n>
__device__ void AddTo(Tile* sum, const Tile (&more)[n]) {
#pragma unroll
  for (int i = 0; i < n; ++i) {
#pragma unroll
    for (int e = 0; e < 4; ++e) sum[i][e] += more[i][e];
  }
}

// Products in float. Tensor cores cut their sums off, so that a long sum drifts towards 0: sixteen
// products at a time are summed there and then added, rounded, to the rest. Strides are chosen so
// that no fragment load meets a bank twice.
template <int kSlice>
struct Exact {
  static constexpr int kStrideQ = 72, kStrideP = 68, kStrideV = kSlice + 8, kStrideC = kSlice + 4;
  static constexpr int kTiles = kSlice / 16;  // m16n8 tiles of half a slice

  // s += q k^T on and below the diagonal, h += q c.
  static __device__ void Query(const WarpPart& p, const float* q, const float* k, const float* c,
                               Tile (&s)[4], Tile (&h)[kTiles]) {
    switch (PairsBelow(p)) {
      case 0:
        return QueryPairs<0>(p, q, k, c, s, h);
      case 1:
        return QueryPairs<1>(p, q, k, c, s, h);
      default:
        return QueryPairs<2>(p, q, k, c, s, h);
    }
  }

  // c += k^T diag(weight) v, rows of k^T the columns of k.
  static __device__ void Store(const WarpPart& p, const float* k, const float* v,
                               const float* weight, Tile (&c)[kTiles]) {
#pragma unroll 1
    for (int s = 0; s < kChunk; s += 16) {
      Pairs<4> a[2];
#pragma unroll
      for (int e = 0; e < 2; ++e) {
        const int t = s + 8 * e + p.t;
        const float* at = k + t * kStrideQ + p.row + p.g;
        const float w0 = weight[t], w1 = weight[t + 4];
        a[e].Set(0, at[0] * w0);
        a[e].Set(1, at[8] * w0);
        a[e].Set(2, at[4 * kStrideQ] * w1);
        a[e].Set(3, at[4 * kStrideQ + 8] * w1);
      }
      Columns(p, v, s, a, c);
    }
  }

  // h += p v, p being zero above the diagonal.
  static __device__ void Values(const WarpPart& p, const float* weights, const float* v,
                                Tile (&h)[kTiles]) {
#pragma unroll 1
    for (int s = 0; s <= p.row; s += 16) {
      Pairs<4> a[2];
#pragma unroll
      for (int e = 0; e < 2; ++e) {
        const float* at = weights + (p.row + p.g) * kStrideP + s + 8 * e + p.t;
        a[e].Set(0, at[0]);
        a[e].Set(1, at[8 * kStrideP]);
        a[e].Set(2, at[4]);
        a[e].Set(3, at[8 * kStrideP + 4]);
      }
      Columns(p, v, s, a, h);
    }
  }

 private:
  template <int kPairs>
  static __device__ void QueryPairs(const WarpPart& p, const float* q, const float* k,
                                    const float* c, Tile (&s)[4], Tile (&h)[kTiles]) {
#pragma unroll 1
    for (int d = 0; d < kTileK; d += 16) {
      Tile keys[kPairs > 0 ? 2 * kPairs : 1] = {}, from_c[kTiles] = {};
#pragma unroll
      for (int e = 0; e < 2; ++e) {
        // The eight of a step are taken in the order that makes two neighbours one load.
        const int at = d + 8 * e + 2 * p.t;
        const float* row = q + (p.row + p.g) * kStrideQ + at;
        const float2 q0 = *reinterpret_cast<const float2*>(row);
        const float2 q1 = *reinterpret_cast<const float2*>(row + 8 * kStrideQ);
        Pairs<4> a;
        a.Set(0, q0.x);
        a.Set(1, q1.x);
        a.Set(2, q0.y);
        a.Set(3, q1.y);
        if constexpr (kPairs > 0) {
          Pairs<2> b[2 * kPairs];
#pragma unroll
          for (int n = 0; n < 2 * kPairs; ++n) {
            const float2 pair =
                *reinterpret_cast<const float2*>(k + (p.half * 32 + n * 8 + p.g) * kStrideQ + at);
            b[n].Set(0, pair.x);
            b[n].Set(1, pair.y);
          }
          MmaPairs(keys, a, b);
        }
        Pairs<2> b[kTiles];
#pragma unroll
        for (int n = 0; n < kTiles; ++n) {
          const float* of_c = c + at * kStrideC + p.half * (kSlice / 2) + n * 8 + p.g;
          b[n].Set(0, of_c[0]);
          b[n].Set(1, of_c[kStrideC]);
        }
        MmaPairs(from_c, a, b);
      }
      if constexpr (kPairs > 0) AddTo(s, keys);
      AddTo(h, from_c);
    }
  }

  static __device__ void Columns(const WarpPart& p, const float* v, int s, const Pairs<4> (&a)[2],
                                 Tile (&sum)[kTiles]) {
    Tile more[kTiles] = {};
#pragma unroll
    for (int e = 0; e < 2; ++e) {
      Pairs<2> b[kTiles];
#pragma unroll
      for (int n = 0; n < kTiles; ++n) {
        const float* at = v + (s + 8 * e + p.t) * kStrideV + p.half * (kSlice / 2) + n * 8 + p.g;
        b[n].Set(0, at[0]);
        b[n].Set(1, at[4 * kStrideV]);
      }
      MmaPairs(more, a[e], b);
    }
    AddTo(sum, more);
  }
};

}  // namespace xst::kernels::cuda::sequence
