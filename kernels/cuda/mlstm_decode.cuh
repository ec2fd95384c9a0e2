// 32 columns of one head's C in the registers of a team of 256 threads, so that no sum of a step
// leaves the team: thread t has the 4 columns t % 8 of rows t / 8, t / 8 + 32, ...
#pragma once

#include "kernels/cuda/mlstm_decay.cuh"
#include "kernels/cuda/row_stream.cuh"

namespace xst::kernels::cuda {

class MlstmTile {
 public:
  static constexpr int kThreads = kRowThreads;
  static constexpr int kColumns = 32;
  static constexpr int kScratch =
      2 * kThreads + kThreads / 32 * (1 + kColumns);  // floats of shared memory

  static __host__ __device__ uint32_t TilesOf(const MlstmCell& o) {
    return (o.dv + kColumns - 1) / kColumns;
  }
  // Whether rows of C are 16-byte aligned, so that whole groups of 4 columns go at once.
  static __host__ __device__ bool Aligned(const MlstmCell& o, const Frames<float>& f) {
    return reinterpret_cast<uintptr_t>(f.data + o.c) % 16 == 0 && f.stride % 4 == 0 &&
           o.stride_c % 4 == 0;
  }

  // Reads the first rows of C: tile `index` of heads * TilesOf, of lane `lane`.
  __device__ MlstmTile(const MlstmCell& o, const Frames<float>& f, uint32_t lane, uint32_t index)
      : o_(o), frame_(f.data + lane * f.stride), vector_(Aligned(o, f)) {
    const uint32_t tiles = TilesOf(o);
    head_ = index / tiles;
    first_column_ = index % tiles * kColumns;
    const uint32_t col = first_column_ + TeamThread() % kThreadsARow * 4;
    columns_ = col < o.dv ? o.dv - col : 0;
    c_ = frame_ + o.c + size_t{head_} * o.dk * o.stride_c + col;
    Load(TeamThread() / kThreadsARow);
  }

  // C' and h. n and m stay as they are: all tiles of a head read them.
  __device__ void Step(float* scratch) {
    const uint32_t t = TeamThread(), warp = t / 32, lane = t % 32;
    auto* rows = reinterpret_cast<float2*>(scratch);  // k and q of the rows in flight
    float* warp_dots = scratch + 2 * kThreads;
    float* warp_sums = warp_dots + kThreads / 32;
    const float* q = frame_ + o_.q + head_ * o_.dk;
    const float* k = frame_ + o_.k + head_ * o_.dk;
    const float* n = frame_ + o_.n + head_ * o_.stride_n;
    const float* v_at = frame_ + o_.v + head_ * o_.dv + first_column_ + t % kThreadsARow * 4;
    float v[4], sum[4] = {};
#pragma unroll
    for (uint32_t i = 0; i < 4; ++i) v[i] = i < columns_ ? __ldcg(v_at + i) : 0;
    const float scale = MlstmScale(o_);
    const float q_scale = o_.scale_key ? 1 : scale, k_scale = o_.scale_key ? scale : 1;
    const uint32_t first_row = t / kThreadsARow;
    float key = 0, query = 0, old = 0;  // of row base + t
    const auto load_row = [&](uint32_t r) {
      key = r < o_.dk ? __ldcg(k + r) * k_scale : 0;
      query = r < o_.dk ? __ldcg(q + r) * q_scale : 0;
      old = r < o_.dk ? __ldcg(n + r) : 0;
    };
    load_row(t);
    const MlstmDecay<float> g = DecayOf(o_, frame_, head_);

    float dot = 0;
    for (uint32_t base = 0;;) {
      const float input = g.add * key;
      rows[t] = make_float2(input, query);
      dot = MulAdd(query, MulAdd(g.keep, old, input), dot);
      SyncTeam();
#pragma unroll
      for (int j = 0; j < kBatch; ++j) {
        const uint32_t in_batch = first_row + j * kRowStep, r = base + in_batch;
        if (r >= o_.dk || columns_ == 0) break;
        const float2 row = rows[in_batch];
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          held_[j][i] = MulAdd(g.keep, held_[j][i], row.x * v[i]);
          sum[i] = MulAdd(row.y, held_[j][i], sum[i]);
        }
        Store(held_[j], c_ + size_t{r} * o_.stride_c);
      }
      base += kThreads;
      if (base >= o_.dk) break;
      load_row(base + t);
      Load(base + first_row);
      SyncTeam();
    }
    dot = SumOver<32>(dot);
    if (lane == 0) warp_dots[warp] = dot;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      sum[i] += __shfl_xor_sync(0xffffffffu, sum[i], 8);
      sum[i] += __shfl_xor_sync(0xffffffffu, sum[i], 16);
      if (lane < kThreadsARow) warp_sums[warp * kColumns + lane * 4 + i] = sum[i];
    }
    SyncTeam();
    if (t >= kColumns || first_column_ + t >= o_.dv) return;
    float d = 0, h = 0;
#pragma unroll
    for (int i = 0; i < kThreads / 32; ++i) {
      d += warp_dots[i];
      h += warp_sums[i * kColumns + t];
    }
    frame_[o_.h + head_ * o_.dv + first_column_ + t] = h / (fmaxf(fabsf(d), expf(-g.m)) + o_.eps);
  }

 private:
  static constexpr int kThreadsARow = kColumns / 4;
  static constexpr int kRowStep = kThreads / kThreadsARow;  // rows a team touches at once
  static constexpr int kBatch = 8;                          // rows of a thread in flight
  static_assert(kBatch * kRowStep == kThreads);

  __device__ void Load(uint32_t row) {
#pragma unroll
    for (int j = 0; j < kBatch; ++j) {
      const uint32_t r = row + j * kRowStep;
      if (r >= o_.dk || columns_ == 0) continue;
      const float* from = c_ + size_t{r} * o_.stride_c;
      if (vector_ && columns_ >= 4) {
        const float4 v = __ldcg(reinterpret_cast<const float4*>(from));
        held_[j][0] = v.x, held_[j][1] = v.y, held_[j][2] = v.z, held_[j][3] = v.w;
        continue;
      }
#pragma unroll
      for (uint32_t i = 0; i < 4; ++i) held_[j][i] = i < columns_ ? __ldcg(from + i) : 0;
    }
  }
  __device__ void Store(const float (&c)[4], float* to) const {
    if (vector_ && columns_ >= 4) {
      *reinterpret_cast<float4*>(to) = make_float4(c[0], c[1], c[2], c[3]);
      return;
    }
#pragma unroll
    for (uint32_t i = 0; i < 4; ++i) {
      if (i < columns_) to[i] = c[i];
    }
  }

  const MlstmCell& o_;
  float* const frame_;
  const bool vector_;
  uint32_t head_, first_column_, columns_;
  float* c_;
  float held_[kBatch][4];
};

}  // namespace xst::kernels::cuda
