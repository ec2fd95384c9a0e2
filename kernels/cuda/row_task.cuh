// A RowTask on the vectors of kLanes lanes: x' into registers, rows into sums, sums into y.
#pragma once

#include "kernels/cuda/activation.cuh"
#include "kernels/cuda/mlstm_decay.cuh"
#include "kernels/cuda/row_stream.cuh"

namespace xst::kernels::cuda {

inline constexpr uint32_t kRowMaxHeads = 80;  // 3 numbers a head and lane fit into the sums

// The sum over the team, the same bits in every thread.
__device__ inline float SumOverTeam(float v, float* scratch) {
  v = SumOver<32>(v);
  SyncTeam();
  if (TeamThread() % 32 == 0) scratch[TeamThread() / 32] = v;
  SyncTeam();
  float sum = scratch[0];
#pragma unroll
  for (int i = 1; i < kRowWarps; ++i) sum += scratch[i];
  return sum;
}

// kPieces: of a row. Activations are read past the L1 cache, which does not see what other
// multiprocessors have written since.
template <class W, int kTeams, int kPieces, int kLanes>
struct RowWork {
  using Feed = RowFeed<W, kTeams>;
  static constexpr int kElements = Feed::kElements;
  static constexpr int kChunks = Feed::kChunks * kPieces;  // of a thread
  static constexpr int kColumns = 16 * kPieces;            // of a thread
  static constexpr int kRows =
      kLanes * kPieces >= 8 || kTeams * kPieces > 4 ? 4 : 8;  // of a warp sum
  // Rows whose products are independent and in flight together.
  static constexpr int kStage = kPieces > 1 ? 1 : kLanes == 8 ? 2 : 4;
  static constexpr int kFlush = kRowSums / kTeams / kRowWarps / kLanes;  // rows between epilogues

  using X = float[kLanes][kColumns];

  // f(index among the thread's columns, column)
  template <class F>
  static __device__ void ForColumns(const RowTask& a, const F& f) {
#pragma unroll
    for (int c = 0; c < kChunks; ++c) {
      const uint32_t first = (TeamThread() + c * kRowThreads) * kElements;
#pragma unroll
      for (int e = 0; e < kElements; ++e) {
        if (first + e < a.cols) f(c * kElements + e, first + e);
      }
    }
  }

  // The thread's columns of a vector, 0 beyond its end. All loads are on their way before the first
  // is needed.
  static __device__ void Load(const float* from, uint32_t cols, float* to) {
    const bool aligned = reinterpret_cast<uintptr_t>(from) % 16 == 0;
    const auto load = [&](int c, bool whole) {
      const uint32_t first = (TeamThread() + c * kRowThreads) * kElements;
      if (whole) {
#pragma unroll
        for (int e = 0; e < kElements; e += 4) {
          const float4 v = __ldcg(reinterpret_cast<const float4*>(from + first + e));
          float* at = to + c * kElements + e;
          at[0] = v.x, at[1] = v.y, at[2] = v.z, at[3] = v.w;
        }
      } else {
#pragma unroll
        for (int e = 0; e < kElements; ++e) {
          to[c * kElements + e] = first + e < cols ? __ldcg(from + first + e) : 0;
        }
      }
    };
    const auto end = [&](int c) { return (TeamThread() + c * kRowThreads + 1) * kElements; };
    if (aligned && end(kChunks - 1) <= cols) {
#pragma unroll
      for (int c = 0; c < kChunks; ++c) load(c, true);
    } else {
#pragma unroll
      for (int c = 0; c < kChunks; ++c) {
        if (aligned && end(c) <= cols) {
          load(c, true);
        } else {
          load(c, false);
        }
      }
    }
  }

  static __device__ void LoadX(const RowTask& a, const Frames<float>& f, X& x) {
    const Slot slot = a.has_norm ? a.norm.x : a.has_out ? a.out.h : a.x;
#pragma unroll
    for (int l = 0; l < kLanes; ++l) {
      Load(f.data + l * f.stride + slot, l < f.lanes ? a.cols : 0, x[l]);
    }
  }

  // Never more than a piece at once lies in registers beside x.
  using Vector = float[kPieces == 1 ? kColumns : 1];
  static __device__ void LoadVector(const float* from, uint32_t cols, Vector& v) {
    if constexpr (kPieces == 1) Load(from, cols, v);
  }
  static __device__ float At(const Vector& v, const float* from, int i, uint32_t col) {
    return kPieces == 1 ? v[kPieces == 1 ? i : 0] : __ldcg(from + col);
  }

  static __device__ void Normalise(const RowTask& a, const Frames<float>& f, const Vector& weight,
                                   float* scratch, X& x) {
    const Norm& o = a.norm;
    const auto size = static_cast<float>(o.size);
#pragma unroll
    for (int l = 0; l < kLanes; ++l) {
      if (l >= f.lanes) break;
      if (o.center) {  // from the first element on, so that equal elements give exactly zero
        const float shift = __ldcg(f.data + l * f.stride + o.x);
        float sum = 0;
        ForColumns(a, [&](int i, uint32_t) { sum += x[l][i] -= shift; });
        const float mean = SumOverTeam(sum, scratch) / size;
        ForColumns(a, [&](int i, uint32_t) { x[l][i] -= mean; });
      }
      float squares = 0;
      ForColumns(a, [&](int i, uint32_t) { squares = MulAdd(x[l][i], x[l][i], squares); });
      const float inverse = 1 / sqrtf(SumOverTeam(squares, scratch) / size + o.eps);
      ForColumns(a, [&](int i, uint32_t col) {
        float y = x[l][i] * inverse;
        if (o.weight) y *= At(weight, o.weight, i, col) + o.weight_offset;
        if (o.bias) y += __ldcg(o.bias + col);
        x[l][i] = y;
      });
    }
  }

  // x = (headnorm(h) weight + bias) gate(z); h is in x.
  static __device__ void GateHeads(const RowTask& a, const Frames<float>& f, const Vector& weight,
                                   float* sums, X& x) {
    const MlstmOut& o = a.out;
    Vector z;
    LoadVector(f.data + o.z, a.cols, z);
    const uint32_t warp = TeamThread() / 32, lane = TeamThread() % 32;
    const auto dim = static_cast<float>(o.dim);
    for (uint32_t i = warp; i < o.heads * f.lanes; i += kRowWarps) {
      const float* h = f.data + i / o.heads * f.stride + o.h + size_t{i % o.heads} * o.dim;
      const float shift = __ldcg(h);
      constexpr int kHeld = 16;  // of a lane, so that h is read once where the head is short
      float held[kHeld];
#pragma unroll
      for (uint32_t j = 0; j < kHeld; ++j) {
        const uint32_t c = lane + 32 * j;
        held[j] = c < o.dim ? __ldcg(h + c) - shift : 0;
      }
      float sum = 0, squares = 0;
#pragma unroll
      for (int j = 0; j < kHeld; ++j) sum += held[j];
      for (uint32_t c = lane + 32 * kHeld; c < o.dim; c += 32) sum += __ldcg(h + c) - shift;
      const float mean = SumOver<32>(sum) / dim;
#pragma unroll
      for (uint32_t j = 0; j < kHeld; ++j) {
        const float d = held[j] - mean;
        if (lane + 32 * j < o.dim) squares = MulAdd(d, d, squares);
      }
      for (uint32_t c = lane + 32 * kHeld; c < o.dim; c += 32) {
        const float d = (__ldcg(h + c) - shift) - mean;
        squares = MulAdd(d, d, squares);
      }
      const float inverse = 1 / sqrtf(SumOver<32>(squares) / dim + o.eps);
      if (lane == 0) {
        sums[3 * i] = shift;
        sums[3 * i + 1] = mean;
        sums[3 * i + 2] = inverse;
      }
    }
    SyncTeam();
#pragma unroll
    for (int l = 0; l < kLanes; ++l) {
      if (l >= f.lanes) break;
      const float* z_at = f.data + l * f.stride + o.z;
      if (l > 0) LoadVector(z_at, a.cols, z);
#pragma unroll
      for (int c = 0; c < kChunks; ++c) {
        const uint32_t first = (TeamThread() + c * kRowThreads) * kElements;
        uint32_t head = first / o.dim, in_head = first % o.dim;
#pragma unroll
        for (int e = 0; e < kElements; ++e) {
          const int i = c * kElements + e;
          const uint32_t col = first + e;
          float y = 0;
          if (col < a.cols) {
            const float* s = sums + 3 * (l * o.heads + head);
            y = ((x[l][i] - s[0]) - s[1]) * s[2] * (At(weight, o.weight, i, col) + o.weight_offset);
            if (o.bias) y += __ldcg(o.bias + col);
            const float gate = At(z, z_at, i, col);
            y *= o.sigmoid ? Sigmoid(gate) : Silu(gate);
          }
          x[l][i] = y;
          if (++in_head == o.dim) in_head = 0, ++head;
        }
      }
    }
  }

  // The whole x'. `sums` is free before and may be used after.
  static __device__ void Prepare(const RowTask& a, const Frames<float>& f, float* sums, X& x) {
    Vector weight;
    const float* from = a.has_norm ? a.norm.weight : a.has_out ? a.out.weight : nullptr;
    if (from) LoadVector(from, a.cols, weight);
    LoadX(a, f, x);
    if (a.has_norm) Normalise(a, f, weight, sums, x);
    if (a.has_out) GateHeads(a, f, weight, sums, x);
    SyncTeam();
  }

  static __device__ float Finished(const RowSet& p, uint32_t row, const float* sums) {
    float v = sums[0];
#pragma unroll
    for (int i = 1; i < kRowWarps; ++i) v += sums[i];
    if (W::kScaled) v *= p.scale[row];
    if (p.bias) v += p.bias[row];
    return v;
  }

  // The rows [first, first + count) of the task, whose sums over the warps lie in
  // sums[(row * kLanes + lane) * kRowWarps].
  static __device__ void Finish(const RowTask& a, const Frames<float>& f, uint32_t first,
                                uint32_t count, const float* sums) {
    const uint32_t step = a.epilogue == RowEpilogue::gated ? 2 : 1;
    for (uint32_t i = TeamThread(); i < count / step * kLanes; i += kRowThreads) {
      const uint32_t at = i / kLanes * step, l = i % kLanes;
      if (l >= f.lanes) continue;
      float* frame = f.data + l * f.stride;
      const float* s = sums + (at * kLanes + l) * kRowWarps;
      uint32_t row = first + at;
      if (step == 2) {
        row /= 2;
        const float gate = Finished(a.part[0], row, s);
        const float linear = Finished(a.part[0], row + a.act.size, s + kLanes * kRowWarps);
        frame[a.act.y + row] = Activate(a.act.act, gate) * linear;
        continue;
      }
      const bool second = row >= a.part[0].rows;
      const RowSet& p = a.part[second];
      if (second) row -= a.part[0].rows;
      const float v = Finished(p, row, s);
      float* y = frame + p.y + row;
      if (a.epilogue == RowEpilogue::soft_cap) {
        *y = a.soft_cap * tanhf(v / a.soft_cap);
      } else {
        *y = a.epilogue == RowEpilogue::accumulate ? __ldcg(y) + v : v;
      }
    }
  }

  // kStage rows of the ring, kDepth of them on their way: acc[row * kLanes + lane].
  static __device__ void Multiply(const Feed& feed, const X& x, float* acc) {
    float even[kStage][kLanes] = {}, odd[kStage][kLanes] = {};
#pragma unroll
    for (int c = 0; c < kChunks; ++c) {
#pragma unroll
      for (int r = 0; r < kStage; ++r) {
        float w[kElements];
        Unpack<W>::To(feed.Chunk(r * kPieces + c / Feed::kChunks, c % Feed::kChunks), w);
#pragma unroll
        for (int e = 0; e < kElements; e += 2) {
#pragma unroll
          for (int l = 0; l < kLanes; ++l) {
            even[r][l] = MulAdd(w[e], x[l][c * kElements + e], even[r][l]);
            odd[r][l] = MulAdd(w[e + 1], x[l][c * kElements + e + 1], odd[r][l]);
          }
        }
      }
    }
#pragma unroll
    for (int r = 0; r < kStage; ++r) {
#pragma unroll
      for (int l = 0; l < kLanes; ++l) acc[r * kLanes + l] = even[r][l] + odd[r][l];
    }
  }

  // All rows of the team. Every row taken from the ring makes room for one more.
  static __device__ void Run(const RowTask& a, const Frames<float>& f, const X& x, float* sums,
                             Feed& feed) {
    const RowSpan span(a);
    const uint32_t warp = TeamThread() / 32, lane = TeamThread() % 32;
    uint32_t flushed = 0;
#pragma unroll 1
    for (uint32_t base = 0; base < span.count; base += kRows) {
      float acc[kRows * kLanes];
#pragma unroll
      for (int stage = 0; stage < kRows; stage += kStage) {
        const uint32_t rows = base + stage < span.count ? span.count - base - stage : 0;
        if (rows == 0) {
#pragma unroll
          for (int i = 0; i < kStage * kLanes; ++i) acc[stage * kLanes + i] = 0;
          continue;
        }
        // Of the last stage's rows beyond the end there is only rubbish, in sums of their own.
        WaitForGroups<Feed::kDepth - kStage * kPieces>();
        Multiply(feed, x, acc + stage * kLanes);
        const uint32_t taken = min(rows, static_cast<uint32_t>(kStage)) * kPieces;
        feed.Take(taken);
#pragma unroll 1
        for (uint32_t i = 0; i < taken; ++i) feed.Copy();
      }
      constexpr int kValues = kRows * kLanes;
      const float sum = SumValues(acc, lane);
      if (lane % (32 / kValues) == 0) {
        const uint32_t value = lane / (32 / kValues);
        sums[((base - flushed) * kLanes + value) * kRowWarps + warp] = sum;
      }
      const uint32_t done = min(base + kRows, span.count);
      if (done - flushed >= kFlush || done == span.count) {
        SyncTeam();
        Finish(a, f, span.first + flushed, done - flushed, sums);
        flushed = done;
        if (done < span.count) SyncTeam();
      }
    }
  }
};

// n' = decay n + input k and m', one head a team: the cell's tiles all read the old ones.
__device__ inline void FinishCell(const MlstmCell& o, const Frames<float>& f) {
  for (uint32_t i = TeamIndex(); i < o.heads * f.lanes; i += Teams()) {
    const uint32_t head = i % o.heads, l = i / o.heads;
    if (f.active && !f.active[l]) continue;
    float* frame = f.data + l * f.stride;
    const MlstmDecay<float> g = DecayOf(o, frame, head);
    SyncTeam();
    const float scale = o.scale_key ? MlstmScale(o) : 1;
    for (uint32_t c = TeamThread(); c < o.dk; c += kRowThreads) {
      float* n = frame + o.n + head * o.stride_n + c;
      *n = MulAdd(g.keep, __ldcg(n), g.add * (__ldcg(frame + o.k + head * o.dk + c) * scale));
    }
    if (TeamThread() == 0) frame[o.m + head] = g.m;
  }
}

}  // namespace xst::kernels::cuda
