// A whole mLSTM block for few lanes, as one kernel: a cluster of blocks of threads, one a head,
// steps kLanes lanes. Each holds its head's share of every matrix, read before the kernel in front
// has ended; the sums over all channels (gates, down projection) meet in their owners' shared
// memory. Against the three kernels of many lanes this trades reads of weights from L2 for waits.
#pragma once

#include "kernels/cuda/copy_async.cuh"
#include "kernels/cuda/dependent_launch.cuh"
#include "kernels/cuda/math.cuh"
#include "kernels/cuda/mlstm_core.cuh"
#include "kernels/cuda/mlstm_lanes_exchange.cuh"
#include "kernels/cuda/tf32.cuh"

namespace xst::kernels::cuda {

#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 900

template <class W, int kLanes>
class MlstmCluster {
  using Element = typename W::Element;
  static constexpr uint32_t kDim = kClusterHeadDim, kThreads = kClusterThreads;
  static constexpr uint32_t kWarps = kThreads / 32;
  static constexpr int kRows = kClusterWidth / kWarps;         // of up and of down a warp
  static constexpr int kSums = 16;                             // that a warp adds up together
  static constexpr int kBatch = kSums / kLanes;                // rows of them
  static constexpr int kRowsOfC = kDim * kDim / 4 / kThreads;  // of a thread, a quadruple each
  static_assert(2 * kDim == kWarps * kRows);
  static_assert(2 * kLanes * kDim <= kThreads);

 public:
  __device__ MlstmCluster(const MlstmWhole& w, const Frames<float>& f, float* shared)
      : w_(w),
        p_(w.core),
        f_(f),
        at_(kLanes, w.core.heads, w.core.block),
        shared_(shared),
        sums_(shared, at_.barriers),
        head_(blockIdx.x % w.core.heads),
        first_(blockIdx.x / w.core.heads * kLanes),
        warp_(threadIdx.x / 32),
        lane_(threadIdx.x % 32),
        of_(threadIdx.x / kDim),
        channel_(threadIdx.x % kDim),
        has_channel_(threadIdx.x < kLanes * kDim) {}

  __device__ void Run() {
    if (threadIdx.x == 0) {
      const uint32_t own = min(Slice(), w_.width - min(head_ * Slice(), w_.width));
      sums_.Open(kGates, p_.heads * kLanes * 2 * 4);
      sums_.Open(kDown, p_.heads * kLanes * own * 4);
    }
    sums_.Ready();
    LoadUp();
    CopyState();
    StageWeights();
    StageDown();
    CommitCopies();
    LoadChannel();
    LoadGates();
    WaitForPredecessor();
    LetSuccessorStart();
    LoadX();
    Up();
    WaitCopies<0>();
    __syncthreads();
    if (has_channel_) {
      Project();
    } else if (threadIdx.x < 2 * kLanes * kDim) {
      OutputGate();
    }
    __syncthreads();
    sums_.Meet();
    SendGates();
    if (warp_ < kLanes) {
      sums_.Receive(kGates);
      Gate();
    }
    __syncthreads();
    Update();
    __syncthreads();
    StoreState();
    if (warp_ < kLanes) Output();
    __syncthreads();
    Down();
    sums_.Receive(kDown);
    StoreX();
    WaitStores();
  }

 private:
  enum Exchange : uint32_t { kGates, kDown };

  // Lanes beyond the last one repeat it and write nothing.
  __device__ float* Frame(uint32_t lane) const {
    return f_.data + min(first_ + lane, size_t{f_.lanes} - 1) * f_.stride;
  }
  __device__ bool Active(uint32_t lane) const { return active_ >> lane & 1; }

  // The matrix row of the head's row of up: a, then z.
  __device__ uint32_t UpRow(uint32_t row) const {
    return (row < kDim ? 0 : p_.channels - kDim) + head_ * kDim + row;
  }
  // Which of a batch's sums SumMany leaves in this thread.
  __device__ uint32_t SumRow(int batch) const {
    return warp_ * kRows + batch * kBatch + lane_ / 2 / kLanes;
  }

  __device__ static float4 Times(float4 v, float scale) {
    return {v.x * scale, v.y * scale, v.z * scale, v.w * scale};
  }
  __device__ void LoadUp() {
    const uint32_t col = lane_ * 4;
    const bool there = col < w_.width;  // a multiple of 4
    const Element* const from = static_cast<const Element*>(w_.up.data) + col;
#pragma unroll
    for (int i = 0; i < kRows; ++i) {
      const Element* const row = from + size_t{UpRow(warp_ * kRows + i)} * w_.up.row_stride;
      float v[4] = {};
      if (there) Load4(row, v);
      up_[i] = {v[0], v[1], v[2], v[3]};
    }
#pragma unroll
    for (int b = 0; b < kLanes; ++b) {
      const uint32_t row = UpRow(SumRow(b));
      if constexpr (W::kScaled) up_scale_[b] = w_.up.scale[row];
      up_bias_[b] = w_.up.bias ? w_.up.bias[row] : 0;
    }
    norm_weight_ = norm_bias_ = {};
    if (there) {
      norm_weight_ = {1, 1, 1, 1};
      if (w_.norm_weight) {
        const float4 v = *reinterpret_cast<const float4*>(w_.norm_weight + col);
        const float o = w_.norm_offset;
        norm_weight_ = {v.x + o, v.y + o, v.z + o, v.w + o};
      }
      if (w_.norm_bias) norm_bias_ = *reinterpret_cast<const float4*>(w_.norm_bias + col);
    }
  }

  __device__ uint32_t OfC(int i) const {
    return (threadIdx.x / 16 + i * 16) * kDim + lane_ % 16 * 4;
  }
  __device__ float* CellOf(uint32_t lane) const { return Frame(lane) + p_.c + head_ * kDim * kDim; }
  // A thread copies what it will change itself.
  __device__ void CopyState() {
#pragma unroll
    for (int l = 0; l < kLanes; ++l) {
#pragma unroll
      for (int i = 0; i < kRowsOfC; ++i) {
        CopyAsync16(shared_ + at_.c + l * kDim * kDim + OfC(i), CellOf(l) + OfC(i), 16);
      }
    }
    if (threadIdx.x < kLanes) {
      CopyAsync4(shared_ + at_.m + threadIdx.x, Frame(threadIdx.x) + p_.m + head_, 4);
    }
    if (has_channel_) n_ = Frame(of_)[p_.n + head_ * p_.stride_n + channel_];
  }

  __device__ void Stage(const AnyMatrix& w, uint32_t row, uint32_t col, float* to) const {
    const size_t from = size_t{row} * w.row_stride + col;
    if (w.dtype == DType::f32) {
      CopyAsync16(to, static_cast<const float*>(w.data) + from, 16);
    } else {
      *reinterpret_cast<float4*>(to) = Times(w.Numbers4(from), w.scale ? w.scale[row] : 1);
    }
  }
  __device__ void StageWeights() const {
    const uint32_t quads = p_.block / 4;
    for (uint32_t i = threadIdx.x; i < kDim * quads; i += kThreads) {
      const uint32_t row = i / quads, col = i % quads * 4;
      float* const to = shared_ + at_.block + row * p_.block + col;
      Stage(p_.q, head_ * kDim + row, col, to);
      Stage(p_.k, head_ * kDim + row, col, to + kDim * p_.block);
      Stage(p_.v, head_ * kDim + row, col, to + 2 * kDim * p_.block);
    }
    constexpr uint32_t kAcross = 3 * kDim / 4;
    for (uint32_t i = threadIdx.x; i < 2 * p_.heads * kAcross; i += kThreads) {
      const uint32_t row = i / kAcross, col = i % kAcross * 4;
      Stage(p_.gates, row, col / kDim * p_.channels + head_ * kDim + col % kDim,
            shared_ + at_.gate_weights + row * 3 * kDim + col);
    }
  }
  __device__ void StageDown() const {
    constexpr uint32_t kEach = 16 / sizeof(Element), kAcross = kDim / kEach;
    auto* const to = reinterpret_cast<Element*>(shared_ + at_.down);
    const Element* const from = static_cast<const Element*>(w_.down.data) + head_ * kDim;
    for (uint32_t i = threadIdx.x; i < w_.width * kAcross; i += kThreads) {
      const uint32_t row = i / kAcross, col = i % kAcross * kEach;
      CopyAsync16(to + row * kDim + col, from + size_t{row} * w_.down.row_stride + col, 16);
    }
    if (threadIdx.x >= kDim) return;
    StageVector(p_.out_weight, at_.scale);
    StageVector(p_.out_bias, at_.shift);
    StageVector(p_.skip, at_.skip);
  }
  // Zeros where there is none.
  __device__ void StageVector(const float* v, uint32_t to) const {
    CopyAsync4(shared_ + to + threadIdx.x, v ? v + head_ * kDim + threadIdx.x : f_.data, v ? 4 : 0);
  }

  // What the thread's channel meets.
  __device__ void LoadChannel() {
    if (!has_channel_) return;
    const uint32_t channel = head_ * kDim + channel_;
    const float* const frame = Frame(of_);
#pragma unroll
    for (uint32_t j = 0; j < kMostTaps; ++j) {
      if (j < p_.kernel) taps_[j] = p_.conv_weight[j * p_.conv_stride + channel];
      if (j + 1 < p_.kernel) past_[j] = frame[p_.history + j * p_.conv_stride + channel];
    }
    if (p_.kernel > 0) conv_bias_ = p_.conv_bias[channel];
    q_bias_ = p_.q.bias ? p_.q.bias[channel] : 0;
    k_bias_ = p_.k.bias ? p_.k.bias[channel] : 0;
    v_bias_ = p_.v.bias ? p_.v.bias[channel] : 0;
  }
  __device__ void LoadGates() {
    input_bias_ = p_.gates.bias ? p_.gates.bias[head_] : 0;
    forget_bias_ = p_.gates.bias ? p_.gates.bias[p_.heads + head_] : 0;
    const uint32_t slice = Slice();
    own_lane_ = threadIdx.x / slice;
    own_row_ = head_ * slice + threadIdx.x % slice;
    if (own_row_ >= w_.width) own_lane_ = kLanes;
    down_bias_ = w_.down.bias && own_lane_ < kLanes ? w_.down.bias[own_row_] : 0;
    if constexpr (W::kScaled) down_scale_ = own_lane_ < kLanes ? w_.down.scale[own_row_] : 0;
#pragma unroll
    for (int b = 0; b < kLanes; ++b) {
      down_to_[b] = SumRow(b) / slice;
      down_at_[b] = at_.down_in + (head_ * kLanes + lane_ / 2 % kLanes) * slice + SumRow(b) % slice;
    }
  }

  // x and its norm, in every warp: four columns a thread of every lane.
  __device__ void LoadX() {
    const bool there = lane_ * 4 < w_.width;
    const float count = static_cast<float>(w_.width);
#pragma unroll
    for (int l = 0; l < kLanes; ++l) {
      x_[l] = {};
      if (there) x_[l] = *reinterpret_cast<const float4*>(Frame(l) + w_.x + lane_ * 4);
    }
#pragma unroll
    for (int l = 0; l < kLanes; ++l) {
      const bool active = first_ + l < f_.lanes && (!f_.active || f_.active[first_ + l]);
      active_ |= static_cast<uint32_t>(active) << l;
    }
    old_x_ = own_lane_ < kLanes ? Frame(own_lane_)[w_.x + own_row_] : 0;
    float sum[kLanes];
    if (w_.norm_center) {
#pragma unroll
      for (int l = 0; l < kLanes; ++l) {
        float4& x = x_[l];
        const float first = __shfl_sync(0xffffffffu, x.x, 0);
        x = {x.x - first, x.y - first, x.z - first, x.w - first};
        sum[l] = there ? (x.x + x.y) + (x.z + x.w) : 0;
      }
      SumEach(sum);
#pragma unroll
      for (int l = 0; l < kLanes; ++l) {
        float4& x = x_[l];
        const float mean = sum[l] / count;
        x = {x.x - mean, x.y - mean, x.z - mean, x.w - mean};
      }
    }
#pragma unroll
    for (int l = 0; l < kLanes; ++l) {
      const float4 x = x_[l];
      sum[l] = there ? fmaf(x.x, x.x, x.y * x.y) + fmaf(x.z, x.z, x.w * x.w) : 0;
    }
    SumEach(sum);
#pragma unroll
    for (int l = 0; l < kLanes; ++l) {
      const float r = 1 / sqrtf(sum[l] / count + w_.norm_eps);
      float4& x = x_[l];
      x = {fmaf(x.x * r, norm_weight_.x, norm_bias_.x), fmaf(x.y * r, norm_weight_.y, norm_bias_.y),
           fmaf(x.z * r, norm_weight_.z, norm_bias_.z),
           fmaf(x.w * r, norm_weight_.w, norm_bias_.w)};
    }
  }

  __device__ void Up() {
    float* const az = shared_ + at_.az + lane_ / 2 % kLanes * 2 * kDim;
#pragma unroll
    for (int b = 0; b < kLanes; ++b) {
      float v[kSums];
#pragma unroll
      for (int i = 0; i < kSums; ++i) {
        const float4 w = up_[b * kBatch + i / kLanes], x = x_[i % kLanes];
        v[i] = fmaf(w.w, x.w, fmaf(w.z, x.z, fmaf(w.y, x.y, w.x * x.x)));
      }
      float sum = SumMany(v);
      if constexpr (W::kScaled) sum *= up_scale_[b];
      if (lane_ % 2 == 0) az[SumRow(b)] = sum + up_bias_[b];
    }
  }

  __device__ static float2 Load2(const Element* from) {
    struct alignas(2 * sizeof(Element)) Pair {
      Element x, y;
    };
    const Pair v = *reinterpret_cast<const Pair*>(from);
    return {W::Number(v.x), W::Number(v.y)};
  }

  // The convolution of a channel, then its q, k, v: their blocks lie within a warp.
  __device__ void Project() {
    const float* const az = shared_ + at_.az + of_ * 2 * kDim;
    const float x = az[channel_];
    float c = x;
    if (p_.kernel > 0) {
      float* const history = Frame(of_) + p_.history + head_ * kDim + channel_;
      float sum = 0;
#pragma unroll
      for (uint32_t j = 0; j + 1 < kMostTaps; ++j) {
        if (j + 1 >= p_.kernel) break;
        sum = fmaf(past_[j], taps_[j], sum);
        if (Active(of_)) {
          history[j * p_.conv_stride] =
              j + 2 < p_.kernel ? past_[j + 2 < kMostTaps ? j + 1 : 0] : x;
        }
      }
#pragma unroll
      for (uint32_t j = 0; j < kMostTaps; ++j) {
        if (j + 1 == p_.kernel) sum = fmaf(x, taps_[j], sum);
      }
      c = Silu(sum + conv_bias_);
    }
    float* const conv = shared_ + at_.conv + of_ * kDim;
    conv[channel_] = c;
    __syncwarp();
    const uint32_t from = channel_ / p_.block * p_.block, next = kDim * p_.block;
    const float* const row = shared_ + at_.block + channel_ * p_.block;
    float q = 0, k = 0, v = 0;
#pragma unroll 1
    for (uint32_t j = 0; j < p_.block; j += 4) {
      const float4 from_a = *reinterpret_cast<const float4*>(az + from + j);
      const float4 from_c = *reinterpret_cast<const float4*>(conv + from + j);
      q = Dot4(row + j, from_c, q);
      k = Dot4(row + next + j, from_c, k);
      v = Dot4(row + 2 * next + j, from_a, v);
    }
    float* const qkv = shared_ + at_.qkv + of_ * 3 * kDim + channel_;
    qkv[0] = q + q_bias_;
    qkv[kDim] = k + k_bias_;
    qkv[2 * kDim] = v + v_bias_;
  }
  __device__ static float Dot4(const float* w, float4 x, float sum) {
    const float4 r = *reinterpret_cast<const float4*>(w);
    return fmaf(r.w, x.w, fmaf(r.z, x.z, fmaf(r.y, x.y, fmaf(r.x, x.x, sum))));
  }

  // By threads that have no channel.
  __device__ void OutputGate() {
    const float z = shared_[at_.az + (of_ - kLanes) * 2 * kDim + kDim + channel_];
    shared_[at_.gate + threadIdx.x - kLanes * kDim] = p_.out_sigmoid ? Sigmoid(z) : Silu(z);
  }

  // This head's part of every gate, a warp a gate, to the head that has it.
  __device__ void SendGates() {
    for (uint32_t row = warp_; row < 2 * p_.heads; row += kWarps) {
      const float* const weights = shared_ + at_.gate_weights + row * 3 * kDim;
      float sum[kLanes] = {};
#pragma unroll
      for (uint32_t j = lane_ * 2; j < 3 * kDim; j += kDim) {
        const float2 w = *reinterpret_cast<const float2*>(weights + j);
#pragma unroll
        for (int l = 0; l < kLanes; ++l) {
          const float2 x = *reinterpret_cast<const float2*>(shared_ + at_.qkv + l * 3 * kDim + j);
          sum[l] = fmaf(w.y, x.y, fmaf(w.x, x.x, sum[l]));
        }
      }
      SumEach(sum);
#pragma unroll
      for (int l = 0; l < kLanes; ++l) {
        if (lane_ == static_cast<uint32_t>(l)) {
          sums_.Send(kGates, row % p_.heads,
                     at_.gates_in + (head_ * kLanes + l) * 2 + row / p_.heads, sum[l]);
        }
      }
    }
  }

  // A warp a lane: what the cell multiplies by, and m.
  __device__ void Gate() {
    float i = input_bias_, f = forget_bias_;
    for (uint32_t h = 0; h < p_.heads; ++h) {
      const float2 part =
          *reinterpret_cast<const float2*>(shared_ + at_.gates_in + (h * kLanes + warp_) * 2);
      i += part.x;
      f += part.y;
    }
    if (p_.gate_cap > 0) {
      i = p_.gate_cap * tanhf(i / p_.gate_cap);
      f = p_.gate_cap * tanhf(f / p_.gate_cap);
    }
    const float forgotten = LogSigmoid(f) + shared_[at_.m + warp_], m = fmaxf(forgotten, i);
    // Three exponentials side by side.
    const float e = expf(lane_ == 0 ? forgotten - m : lane_ == 1 ? i - m : -m);
    if (lane_ < 3) shared_[at_.gates + warp_ * 4 + lane_] = e;
    if (lane_ == 3 && Active(warp_)) Frame(warp_)[p_.m + head_] = m;
  }

  __device__ void Update() {
    const uint32_t column = lane_ % 16 * 4;
#pragma unroll
    for (int l = 0; l < kLanes; ++l) {
      const float2 gates = *reinterpret_cast<const float2*>(shared_ + at_.gates + l * 4);
      const float forget = gates.x, key = gates.y * p_.key_scale, query = p_.query_scale;
      const float *const q = shared_ + at_.qkv + l * 3 * kDim, *const k = q + kDim;
      const float4 v = *reinterpret_cast<const float4*>(k + kDim + column);
      float4 h = {};
#pragma unroll
      for (int r = 0; r < kRowsOfC; ++r) {
        const uint32_t row = threadIdx.x / 16 + r * 16;
        const float scaled = key * k[row], read = query * q[row];
        float4* const own = reinterpret_cast<float4*>(shared_ + at_.c + l * kDim * kDim + OfC(r));
        float4 c = *own;
        c = {fmaf(forget, c.x, scaled * v.x), fmaf(forget, c.y, scaled * v.y),
             fmaf(forget, c.z, scaled * v.z), fmaf(forget, c.w, scaled * v.w)};
        h = {fmaf(read, c.x, h.x), fmaf(read, c.y, h.y), fmaf(read, c.z, h.z),
             fmaf(read, c.w, h.w)};
        *own = c;
      }
      h.x += __shfl_xor_sync(0xffffffffu, h.x, 16);
      h.y += __shfl_xor_sync(0xffffffffu, h.y, 16);
      h.z += __shfl_xor_sync(0xffffffffu, h.z, 16);
      h.w += __shfl_xor_sync(0xffffffffu, h.w, 16);
      if (lane_ < 16) {
        *reinterpret_cast<float4*>(shared_ + at_.parts + (l * kWarps + warp_) * kDim + column) = h;
      }
    }
    asm volatile("fence.proxy.async.shared::cta;" ::: "memory");  // what StoreState reads
    if (!has_channel_) return;
    const float2 gates = *reinterpret_cast<const float2*>(shared_ + at_.gates + of_ * 4);
    const float *const q = shared_ + at_.qkv + of_ * 3 * kDim + channel_, *const k = q + kDim;
    const float next = fmaf(gates.x, n_, gates.y * p_.key_scale * *k);
    const float read_n = SumOver<32>(p_.query_scale * *q * next);
    if (Active(of_)) Frame(of_)[p_.n + head_ * p_.stride_n + channel_] = next;
    if (lane_ == 0) shared_[at_.part_n + warp_] = read_n;
  }
  // C goes back beside what follows: stores by every thread would hold up its shared memory.
  __device__ void StoreState() const {
    if (threadIdx.x != kThreads - 32) return;
#pragma unroll
    for (int l = 0; l < kLanes; ++l) {
      if (!Active(l)) continue;
      asm volatile("cp.async.bulk.global.shared::cta.bulk_group [%0], [%1], %2;" ::"l"(CellOf(l)),
                   "r"(sums_.Address(at_.c + l * kDim * kDim)), "n"(kDim * kDim * 4)
                   : "memory");
    }
    asm volatile("cp.async.bulk.commit_group;" ::: "memory");
  }
  __device__ void WaitStores() const {
    if (threadIdx.x == kThreads - 32) {
      asm volatile("cp.async.bulk.wait_group 0;" ::: "memory");
    }
  }

  // h, its norm, skip and output gate; a warp a lane.
  __device__ void Output() {
    const float* const part_n = shared_ + at_.part_n + 2 * warp_;
    const float read_n = part_n[0] + part_n[1];
    const float below =
        1 / (fmaxf(fabsf(read_n), shared_[at_.gates + warp_ * 4 + 2]) + p_.cell_eps);
    float h[2] = {};
#pragma unroll
    for (int e = 0; e < 2; ++e) {
#pragma unroll
      for (uint32_t w = 0; w < kWarps; ++w) {
        h[e] += shared_[at_.parts + (warp_ * kWarps + w) * kDim + e * 32 + lane_];
      }
      h[e] *= below;
    }
    constexpr float kCount = kDim;
    const float first = __shfl_sync(0xffffffffu, h[0], 0);
    const float mean = first + SumOver<32>((h[0] - first) + (h[1] - first)) / kCount;
    h[0] -= mean;
    h[1] -= mean;
    const float r = 1 / sqrtf(SumOver<32>(fmaf(h[0], h[0], h[1] * h[1])) / kCount + p_.out_eps);
#pragma unroll
    for (int e = 0; e < 2; ++e) {
      const uint32_t at = warp_ * kDim + e * 32 + lane_;
      const float* const own = shared_ + e * 32 + lane_;
      const float s = fmaf(h[e] * r, own[at_.scale] + p_.out_offset, own[at_.shift]);
      shared_[at_.s + at] = fmaf(own[at_.skip], shared_[at_.conv + at], s) * shared_[at_.gate + at];
    }
  }

  // Rows of x that a head adds up and stores.
  __device__ uint32_t Slice() const { return w_.slice; }

  __device__ void Down() {
    float2 s[kLanes];
#pragma unroll
    for (int l = 0; l < kLanes; ++l) {
      s[l] = *reinterpret_cast<const float2*>(shared_ + at_.s + l * kDim + lane_ * 2);
    }
    // Rows beyond the last are what lies there, and go nowhere.
    const auto* const down = reinterpret_cast<const Element*>(shared_ + at_.down) + lane_ * 2;
#pragma unroll
    for (int b = 0; b < kLanes; ++b) {
      float v[kSums];
#pragma unroll
      for (int i = 0; i < kBatch; ++i) {
        const float2 w = Load2(down + (warp_ * kRows + b * kBatch + i) * kDim);
#pragma unroll
        for (int l = 0; l < kLanes; ++l) {
          v[i * kLanes + l] = fmaf(w.y, s[l].y, w.x * s[l].x);
        }
      }
      const float sum = SumMany(v);
      if (lane_ % 2 == 0 && SumRow(b) < w_.width) sums_.Send(kDown, down_to_[b], down_at_[b], sum);
    }
  }
  __device__ void StoreX() const {
    if (own_lane_ >= kLanes || !Active(own_lane_)) return;
    const uint32_t slice = Slice();
    float sum = 0;
    for (uint32_t h = 0; h < p_.heads; ++h) {
      sum += shared_[at_.down_in + (h * kLanes + own_lane_) * slice + own_row_ - head_ * slice];
    }
    if constexpr (W::kScaled) sum *= down_scale_;
    Frame(own_lane_)[w_.x + own_row_] = old_x_ + (sum + down_bias_);
  }

  const MlstmWhole& w_;
  const MlstmCore& p_;
  const Frames<float>& f_;
  const MlstmClusterShared at_;
  float* const shared_;
  const ClusterExchanges sums_;
  const uint32_t head_;
  const size_t first_;  // lane
  const uint32_t warp_, lane_;
  // Threads that have a channel of the head: whose lane, and which.
  const uint32_t of_, channel_;
  const bool has_channel_;
  float4 up_[kRows], norm_weight_, norm_bias_, x_[kLanes];
  float up_bias_[kLanes], up_scale_[kLanes], n_, old_x_, down_bias_, down_scale_;
  float taps_[kMostTaps], past_[kMostTaps], conv_bias_, q_bias_, k_bias_, v_bias_;
  float input_bias_, forget_bias_;
  // The row of x that the thread adds up, and where its sums of the down projection go.
  uint32_t own_lane_, own_row_, down_to_[kLanes], down_at_[kLanes];
  uint32_t active_ = 0;  // lanes, a bit each
};

#endif

template <class W, int kLanes>
__global__ void __launch_bounds__(kClusterThreads, 2)
    MlstmClusterKernel(const __grid_constant__ MlstmWhole w,
                       const __grid_constant__ Frames<float> f) {
#if __CUDA_ARCH__ >= 900
  extern __shared__ __align__(16) float cluster_shared[];
  MlstmCluster<W, kLanes>(w, f, cluster_shared).Run();
#endif
}

}  // namespace xst::kernels::cuda
