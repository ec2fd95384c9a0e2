// The kernel of mlstm_lanes.h: a block of threads steps one lane after another. C passes through
// registers once; as a value goes back to memory, the next lane's takes its place, so that memory
// never waits for what is computed between.
#pragma once

#include "kernels/cuda/chained_launch.cuh"
#include "kernels/cuda/copy_async.cuh"
#include "kernels/cuda/math.cuh"
#include "kernels/cuda/mlstm_core.cuh"

namespace xst::kernels::cuda {

// kColumns threads (4 values each) span a row of C, kHeadThreads a head.
// kStaged: the weights of gates, q, k and v are copied to shared memory first. kFull: a head's rows
// fill their threads exactly, one behind the other.
template <int kColumns, int kHeadThreads, bool kStaged, bool kFull>
class MlstmLane {
 public:
  static constexpr int kGroups = kHeadThreads / kColumns;  // rows of C at once
  static constexpr int kRows = (4 * kColumns + kGroups - 1) / kGroups;
  static constexpr int kHeadWarps = kHeadThreads / 32;

  __device__ MlstmLane(const MlstmCore& p, const Frames<float>& f, float* shared)
      : p_(p),
        f_(f),
        at_(p.heads, p.channels, p.block, blockDim.x, kColumns * 4, kStaged),
        shared_(shared),
        policy_(p.streaming),
        thread_(threadIdx.x),
        head_in_pass_(threadIdx.x / kHeadThreads),
        in_head_(threadIdx.x % kHeadThreads),
        column_(in_head_ % kColumns * 4),
        group_(in_head_ / kColumns),
        block_at_(threadIdx.x / p.block * p.block) {}

  __device__ void Run() {
    uint32_t lane = blockIdx.x;
    float* frame = FrameOf(lane);
    LoadHistory(frame);
    LoadState(frame, head_in_pass_);
    if constexpr (kStaged) StageWeights();
    StageChannels();
    LoadGateBias();
    WaitForPredecessor();
    bool active = LoadInputs(lane);
    for (;;) {
      const uint32_t next = lane + gridDim.x;
      const bool last = next >= f_.lanes;
      if (last) LetSuccessorStart();
      float* const next_frame = last ? nullptr : FrameOf(next);
      if (active) {
        active = Step(frame, next_frame, next);
      } else if (!last) {
        LoadState(next_frame, head_in_pass_);
        LoadHistory(next_frame);
        active = LoadInputs(next);
      }
      if (last) break;
      __syncthreads();
      lane = next;
      frame = next_frame;
    }
    WaitCopies<0>();
  }

 private:
  __device__ float* FrameOf(uint32_t lane) const { return f_.data + lane * f_.stride; }

  // One lane's step; whether the next one is active.
  __device__ bool Step(float* frame, float* next_frame, uint32_t next) {
    bool active = false;
    Convolve(frame);
    if (next_frame) {  // before C takes the way to memory
      LoadHistory(next_frame);
      active = LoadInputs(next);
    }
    WaitCopies<0>();
    __syncthreads();
    Project();
    __syncthreads();
    Gates();
    __syncthreads();
    const uint32_t heads_at_once = blockDim.x / kHeadThreads;
    for (uint32_t first = 0; first < p_.heads; first += heads_at_once) {
      const uint32_t head = first + head_in_pass_;
      const bool more = first + heads_at_once < p_.heads;
      float* const then = more ? frame : next_frame;
      const uint32_t then_head = more ? head + heads_at_once : head_in_pass_;
      if (head < p_.heads) {
        Update(frame, head, then, then_head);
      } else if (then) {
        LoadState(then, then_head);
      }
      __syncthreads();
      if (head < p_.heads) Output(frame, head);
      if (more) __syncthreads();
    }
    return active;
  }

  __device__ uint32_t StrideC() const { return kFull ? 4 * kColumns : p_.stride_c; }
  __device__ float* CellOf(float* frame, uint32_t head) const {
    return frame + p_.c + static_cast<size_t>(head) * p_.dim * StrideC() + column_;
  }
  __device__ void LoadState(float* frame, uint32_t head) {
    if (head >= p_.heads) return;
    const float* const from = CellOf(frame, head);
#pragma unroll
    for (int i = 0; i < kRows; ++i) {
      const uint32_t row = group_ + i * kGroups;
      if (kFull || (row < p_.dim && column_ < p_.dim)) c_[i] = policy_.Load(from + row * StrideC());
    }
    LoadSmallState(frame, head);
  }
  __device__ void LoadSmallState(const float* frame, uint32_t head) {
    if (head >= p_.heads) return;
    n_ = in_head_ < p_.dim ? frame[p_.n + head * p_.stride_n + in_head_] : 0;
    m_ = frame[p_.m + head];
  }

  // Of the thread's first channel, before its lane's turn.
  __device__ void LoadHistory(const float* frame) {
    if (thread_ < p_.channels) History(frame, thread_, past_);
  }
  __device__ bool LoadInputs(uint32_t lane) {
    const float* const frame = FrameOf(lane);
    if (thread_ < p_.channels) {
      x_ = frame[p_.a + thread_];
      z_ = frame[p_.z + thread_];
    }
    return !f_.active || f_.active[lane];
  }
  __device__ void History(const float* frame, uint32_t channel,
                          float (&past)[kMostTaps - 1]) const {
#pragma unroll
    for (uint32_t j = 0; j + 1 < kMostTaps; ++j) {
      if (j + 1 < p_.kernel) past[j] = frame[p_.history + j * p_.conv_stride + channel];
    }
  }

  // A thread stages the channels it convolves.
  __device__ void StageChannels() const {
    for (uint32_t channel = thread_; channel < p_.channels; channel += blockDim.x) {
      float* const to = shared_ + channel;
#pragma unroll
      for (uint32_t j = 0; j < kMostTaps; ++j) {
        if (j < p_.kernel) {
          to[at_.taps + j * p_.channels] = p_.conv_weight[j * p_.conv_stride + channel];
        }
      }
      if (p_.kernel > 0) to[at_.bias] = p_.conv_bias[channel];
      to[at_.scale] = p_.out_weight[channel] + p_.out_offset;
      to[at_.shift] = p_.out_bias ? p_.out_bias[channel] : 0;
      to[at_.skip] = p_.skip ? p_.skip[channel] : 0;
    }
  }
  __device__ void Convolve(float* frame) {
    if (thread_ < p_.channels) ConvolveOne(frame, thread_, x_, z_, past_);
    for (uint32_t channel = thread_ + blockDim.x; channel < p_.channels; channel += blockDim.x) {
      float past[kMostTaps - 1];
      History(frame, channel, past);
      ConvolveOne(frame, channel, frame[p_.a + channel], frame[p_.z + channel], past);
    }
  }
  __device__ void ConvolveOne(float* frame, uint32_t channel, float x, float z,
                              const float (&past)[kMostTaps - 1]) {
    float* const own = shared_ + channel;
    float c = x;
    if (p_.kernel > 0) {
      const float* const taps = own + at_.taps;
      float* const history = frame + p_.history + channel;
      float sum = 0;
#pragma unroll
      for (uint32_t j = 0; j + 1 < kMostTaps; ++j) {
        if (j + 1 >= p_.kernel) break;
        sum = fmaf(past[j], taps[j * p_.channels], sum);
        history[j * p_.conv_stride] = j + 2 < p_.kernel ? past[j + 2 < kMostTaps ? j + 1 : 0] : x;
      }
      c = Silu(fmaf(x, taps[(p_.kernel - 1) * p_.channels], sum) + own[at_.bias]);
    }
    own[at_.a] = x;
    own[at_.c] = c;
    own[at_.gate] = p_.out_sigmoid ? Sigmoid(z) : Silu(z);
  }

  // Four weights (rows are padded with zeros), with their row's scale.
  __device__ void Stage(const AnyMatrix& w, uint32_t row, uint32_t col, float* to) const {
    const size_t from = size_t{row} * w.row_stride + col;
    if (w.dtype == DType::f32) {
      CopyAsync16Cached(to, static_cast<const float*>(w.data) + from);
    } else {
      const float scale = w.scale ? w.scale[row] : 1;
      const float4 v = w.Numbers4(from);
      *reinterpret_cast<float4*>(to) = {v.x * scale, v.y * scale, v.z * scale, v.w * scale};
    }
  }
  __device__ void StageWeights() const {
    const uint32_t across = (p_.block + 3) / 4 * 4, cols = 3 * p_.channels;
    float* const block = shared_ + at_.block;
    for (uint32_t row = thread_; row < p_.channels; row += blockDim.x) {
      for (uint32_t col = 0; col < across; col += 4) {
        Stage(p_.q, row, col, block + row * across + col);
        Stage(p_.k, row, col, block + (p_.channels + row) * across + col);
        Stage(p_.v, row, col, block + (2 * p_.channels + row) * across + col);
      }
    }
    for (uint32_t row = thread_ / 32; row < 2 * p_.heads; row += blockDim.x / 32) {
      for (uint32_t col = thread_ % 32 * 4; col < cols; col += 128) {
        Stage(p_.gates, row, col, shared_ + at_.weights + row * cols + col);
      }
    }
    CommitCopies();
  }
  // Of the warp's first gate.
  __device__ void LoadGateBias() {
    const uint32_t row = thread_ / 32;
    gate_bias_ = row < 2 * p_.heads && p_.gates.bias ? p_.gates.bias[row] : 0;
  }

  // A row of the block-diagonal matrix, the `which`-th staged one.
  __device__ float BlockRow(const AnyMatrix& w, uint32_t which, const float* x,
                            uint32_t channel) const {
    float sum = 0;
    if constexpr (kStaged) {
      const uint32_t across = (p_.block + 3) / 4 * 4;
      const float* const row = shared_ + at_.block + (which * p_.channels + channel) * across;
      for (uint32_t j = 0; j < p_.block; ++j) sum = fmaf(row[j], x[j], sum);
      return w.bias ? sum + w.bias[channel] : sum;
    } else {
      const size_t row = size_t{channel} * w.row_stride;
      for (uint32_t j = 0; j < p_.block; ++j) sum = fmaf(w.Number(row + j), x[j], sum);
      return w.Finished(sum, channel);
    }
  }
  __device__ static float Dot4(const float* w, float4 x, float sum) {
    const float4 r = *reinterpret_cast<const float4*>(w);
    return fmaf(r.w, x.w, fmaf(r.z, x.z, fmaf(r.y, x.y, fmaf(r.x, x.x, sum))));
  }
  __device__ void Project() {
    float* const qkv = shared_ + at_.qkv;
    const bool quads = kStaged && p_.block % 4 == 0;
    for (uint32_t channel = thread_; channel < p_.channels; channel += blockDim.x) {
      const uint32_t from = channel == thread_ ? block_at_ : channel / p_.block * p_.block;
      const float *const a = shared_ + at_.a + from, *const c = shared_ + at_.c + from;
      float q = 0, k = 0, v = 0;
      if (quads) {  // the three side by side: none waits for another's reads
        const float* const row = shared_ + at_.block + channel * p_.block;
        const uint32_t next = p_.channels * p_.block;
#pragma unroll 1
        for (uint32_t j = 0; j < p_.block; j += 4) {
          const float4 from_a = *reinterpret_cast<const float4*>(a + j);
          const float4 from_c = *reinterpret_cast<const float4*>(c + j);
          q = Dot4(row + j, from_c, q);
          k = Dot4(row + next + j, from_c, k);
          v = Dot4(row + 2 * next + j, from_a, v);
        }
        if (p_.q.bias) q += p_.q.bias[channel];
        if (p_.k.bias) k += p_.k.bias[channel];
        if (p_.v.bias) v += p_.v.bias[channel];
      } else {
        q = BlockRow(p_.q, 0, c, channel);
        k = BlockRow(p_.k, 1, c, channel);
        v = BlockRow(p_.v, 2, a, channel);
      }
      qkv[channel] = q;
      qkv[p_.channels + channel] = k;
      qkv[2 * p_.channels + channel] = v;
    }
  }

  // A warp a row, four columns at a time (3 P is a multiple of 4 as P is).
  __device__ void Gates() {
    const float* const qkv = shared_ + at_.qkv;
    const uint32_t lane = thread_ % 32, cols = 3 * p_.channels;
    for (uint32_t row = thread_ / 32; row < 2 * p_.heads; row += blockDim.x / 32) {
      float sum = 0;
      for (uint32_t j = lane * 4; j < cols; j += 128) {
        const float4 x = *reinterpret_cast<const float4*>(qkv + j);
        float4 w;
        if constexpr (kStaged) {
          w = *reinterpret_cast<const float4*>(shared_ + at_.weights + row * cols + j);
        } else {
          w = p_.gates.Numbers4(size_t{row} * p_.gates.row_stride + j);
        }
        sum = fmaf(w.w, x.w, fmaf(w.z, x.z, fmaf(w.y, x.y, fmaf(w.x, x.x, sum))));
      }
      sum = SumOver<32>(sum);
      if (lane == 0) {
        if (!kStaged && p_.gates.scale) sum *= p_.gates.scale[row];
        float gate = sum + (row == thread_ / 32 ? gate_bias_
                            : p_.gates.bias     ? p_.gates.bias[row]
                                                : 0);
        if (p_.gate_cap > 0) gate = p_.gate_cap * tanhf(gate / p_.gate_cap);
        shared_[at_.gates + row] = gate;
      }
    }
  }

  __device__ float* PartOf(uint32_t warp) const {
    return shared_ + at_.parts + warp * (kColumns * 4 + 4);
  }

  // A head's step; `then` and its head take its place in registers, if not null.
  __device__ void Update(float* frame, uint32_t head, float* then, uint32_t then_head) {
    const float i = shared_[at_.gates + head];
    const float forgotten = LogSigmoid(shared_[at_.gates + p_.heads + head]) + m_;
    const float m = fmaxf(forgotten, i);
    const float forget = expf(forgotten - m), input = expf(i - m);
    const float key = input * p_.key_scale, query = p_.query_scale;
    const float *const q = shared_ + at_.qkv + head * p_.dim, *const k = q + p_.channels;
    floor_ = expf(-m);

    float4 h = {};
    const bool mine = kFull || column_ < p_.dim;
    const float4 v = mine ? *reinterpret_cast<const float4*>(k + p_.channels + column_) : float4{};
    float* const to = CellOf(frame, head);
    const float* const from = then && then_head < p_.heads ? CellOf(then, then_head) : nullptr;
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      const uint32_t row = group_ + r * kGroups;
      if (kFull || (row < p_.dim && mine)) {
        const float scaled = key * k[row], read = query * q[row];
        float4& c = c_[r];
        c.x = fmaf(forget, c.x, scaled * v.x);
        c.y = fmaf(forget, c.y, scaled * v.y);
        c.z = fmaf(forget, c.z, scaled * v.z);
        c.w = fmaf(forget, c.w, scaled * v.w);
        h.x = fmaf(read, c.x, h.x);
        h.y = fmaf(read, c.y, h.y);
        h.z = fmaf(read, c.z, h.z);
        h.w = fmaf(read, c.w, h.w);
        policy_.Store(to + row * StrideC(), c);
        policy_.LoadIf(from != nullptr, from + row * StrideC(), &c);
      }
    }
    float read_n = 0;
    for (uint32_t row = in_head_; row < p_.dim; row += kHeadThreads) {
      float* const n = frame + p_.n + head * p_.stride_n + row;
      const float next = fmaf(forget, row == in_head_ ? n_ : *n, key * k[row]);
      *n = next;
      read_n = fmaf(query * q[row], next, read_n);
    }
    if (in_head_ == 0) frame[p_.m + head] = m;
    if (from) LoadSmallState(then, then_head);

#pragma unroll
    for (int d = 16; d >= kColumns; d /= 2) {
      h.x += __shfl_xor_sync(0xffffffffu, h.x, d);
      h.y += __shfl_xor_sync(0xffffffffu, h.y, d);
      h.z += __shfl_xor_sync(0xffffffffu, h.z, d);
      h.w += __shfl_xor_sync(0xffffffffu, h.w, d);
    }
    read_n = SumOver<32>(read_n);
    float* const part = PartOf(thread_ / 32);
    if (thread_ % 32 < kColumns) *reinterpret_cast<float4*>(part + column_) = h;
    if (thread_ % 32 == 0) part[kColumns * 4] = read_n;
  }

  // h, its norm, skip and output gate, by the head's first warp.
  __device__ void Output(float* frame, uint32_t head) {
    constexpr int kEach = (kColumns * 4 + 31) / 32;
    if (in_head_ >= 32) return;
    const uint32_t warp = thread_ / 32;
    float read_n = 0;
#pragma unroll
    for (int w = 0; w < kHeadWarps; ++w) read_n += PartOf(warp + w)[kColumns * 4];
    const float below = 1 / (fmaxf(fabsf(read_n), floor_) + p_.cell_eps);
    float h[kEach], first = 0, sum = 0;
#pragma unroll
    for (int e = 0; e < kEach; ++e) {
      const uint32_t at = e * 32 + in_head_;
      h[e] = 0;
      if (at < p_.dim) {
#pragma unroll
        for (int w = 0; w < kHeadWarps; ++w) h[e] += PartOf(warp + w)[at];
        h[e] *= below;
      }
      if (e == 0) first = __shfl_sync(0xffffffffu, h[0], 0);
      if (at < p_.dim) sum += h[e] - first;
    }
    const float mean = first + SumOver<32>(sum) / static_cast<float>(p_.dim);
    float squares = 0;
#pragma unroll
    for (int e = 0; e < kEach; ++e) {
      if (e * 32 + in_head_ < p_.dim) squares = fmaf(h[e] - mean, h[e] - mean, squares);
    }
    const float r = 1 / sqrtf(SumOver<32>(squares) / static_cast<float>(p_.dim) + p_.out_eps);
#pragma unroll
    for (int e = 0; e < kEach; ++e) {
      const uint32_t at = e * 32 + in_head_, channel = head * p_.dim + at;
      if (at >= p_.dim) continue;
      const float* const own = shared_ + channel;
      const float s = fmaf((h[e] - mean) * r, own[at_.scale], own[at_.shift]);
      frame[p_.y + channel] = fmaf(own[at_.skip], own[at_.c], s) * own[at_.gate];
    }
  }

  const MlstmCore& p_;
  const Frames<float>& f_;
  const MlstmCoreShared at_;
  float* const shared_;
  const StatePolicy policy_;
  const uint32_t thread_, head_in_pass_, in_head_, column_, group_;
  const uint32_t block_at_;  // where the block of the thread's first channel begins
  float4 c_[kRows];
  float n_, m_, floor_, gate_bias_;
  float x_, z_, past_[kMostTaps - 1];
};

template <int kColumns, bool kStaged, bool kFull>
__global__ void __launch_bounds__(256, 2)
    MlstmCoreKernel(const __grid_constant__ MlstmCore p, const __grid_constant__ Frames<float> f) {
  extern __shared__ __align__(16) float core_shared[];
  MlstmLane<kColumns, MlstmHeadThreads(kColumns), kStaged, kFull>(p, f, core_shared).Run();
}

}  // namespace xst::kernels::cuda
