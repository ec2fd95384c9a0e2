// The kernel of slstm_lanes.h: a block of threads steps a few lanes, all heads of them, with W and
// R of as many heads as fit in shared memory at a time.
#pragma once

#include "kernels/cuda/any_matrix.cuh"
#include "kernels/cuda/chained_launch.cuh"
#include "kernels/cuda/copy_async.cuh"
#include "kernels/cuda/slstm_point.cuh"

namespace xst::kernels::cuda {

struct SlstmLayer {
  uint32_t channels, heads, dim;
  const float *norm_weight, *norm_bias;
  float norm_offset, norm_eps;
  bool norm_center;
  uint32_t kernel;  // of the convolution; 0: none
  const float *conv_weight, *conv_bias;
  uint32_t conv_stride;
  AnyMatrix w, r;
  float forget_cap;
  bool lstm;
  const float* out_weight;
  float out_eps;
  Slot x, history, y, c, n, m;
  uint32_t lanes;          // of a block of threads
  uint32_t heads_at_once;  // whose W and R lie in shared memory together
};

// Floats of shared memory. Heads lie `head` apart there, zeros behind their `dim` values; rows of
// weights `row` apart, an odd number of 16-byte words so that neighbours meet different banks.
// norm_w, norm_b and out_w are the weights of the norms by channel.
struct SlstmShared {
  uint32_t head, row, wide, x, u, conv, y, out, w, r, norm_w, norm_b, out_w, size;
  __host__ __device__ SlstmShared(uint32_t channels, uint32_t heads, uint32_t dim, uint32_t lanes,
                                  uint32_t heads_at_once) {
    head = (dim + 3) / 4 * 4;
    row = head + (head % 8 == 0 ? 4 : 0);
    wide = heads * head;
    u = 0;
    conv = u + lanes * wide;
    y = conv + lanes * wide;
    w = y + lanes * wide;
    r = w + heads_at_once * dim * 4 * row;
    x = r + heads_at_once * dim * 4 * row;
    out = x + lanes * channels;
    norm_w = out + lanes * channels;
    norm_b = norm_w + channels;
    out_w = norm_b + channels;
    size = out_w + channels;
  }
};

inline constexpr uint32_t kMostTaps = 4;  // of the convolution

// kLanes lanes of one channel a thread.
template <int kLanes>
class SlstmLanes {
 public:
  __device__ SlstmLanes(const SlstmLayer& p, const Frames<float>& f, float* shared)
      : p_(p),
        f_(f),
        at_(p.channels, p.heads, p.dim, p.lanes, p.heads_at_once),
        shared_(shared),
        first_(static_cast<size_t>(blockIdx.x) * p.lanes),
        here_(min(static_cast<size_t>(p.lanes), f.lanes - first_)) {}

  __device__ void Run() {
    CopyNorms();
    CommitCopies();
    CopyWeights(0);
    CommitCopies();
    Inputs first[kBatch];
    Cells cells = {};
    const uint32_t channels = p_.heads_at_once * p_.dim;
    const uint32_t lane = threadIdx.x / channels * kLanes, channel = threadIdx.x % channels;
    const bool early = kEarly && lane < here_;
    LoadWeights(threadIdx.x, first);
    if (early) LoadBias(channel, &cells);
    WaitForPredecessor();
    LetSuccessorStart();
    LoadState(threadIdx.x, first);
    if (early) LoadCells(lane, channel, &cells);
    WaitCopies<1>();
    __syncthreads();
    if (Quads()) {
      Normalise<4>();
    } else {
      Normalise<1>();
    }
    __syncthreads();
    Convolve(first);
    WaitCopies<0>();
    __syncthreads();
    for (uint32_t h = 0; h < p_.heads; h += p_.heads_at_once) {
      if (h > 0) {
        __syncthreads();
        CopyWeights(h);
        CommitCopies();
        WaitCopies<0>();
        __syncthreads();
      }
      Step(h, min(p_.heads_at_once, p_.heads - h), cells);
    }
    __syncthreads();
    Output();
  }

 private:
  __device__ float* Frame(uint32_t lane) const { return f_.data + (first_ + lane) * f_.stride; }
  __device__ bool Active(uint32_t lane) const { return !f_.active || f_.active[first_ + lane]; }
  __device__ static uint32_t RowOf(uint32_t channel, uint32_t gate) {
    return channel / 16 * 64 + gate * 16 + channel % 16;
  }

  // Zeros where there are none.
  __device__ void CopyNorms() {
    for (uint32_t i = threadIdx.x; i < p_.channels; i += blockDim.x) {
      CopyNorm(p_.norm_weight, i, shared_ + at_.norm_w);
      CopyNorm(p_.norm_bias, i, shared_ + at_.norm_b);
      CopyNorm(p_.out_weight, i, shared_ + at_.out_w);
    }
  }
  __device__ void CopyNorm(const float* w, uint32_t i, float* to) const {
    CopyAsync4(to + i, w ? w + i : f_.data, w ? 4 : 0);
  }

  // Of heads [from, from + heads_at_once): [gate][channel][row].
  __device__ void CopyWeights(uint32_t from) {
    if (p_.w.dtype == DType::f32 && p_.r.dtype == DType::f32) {
      EachWord(from, [this](uint32_t row, uint32_t col, uint32_t to, uint32_t gate) {
        const auto* const w = static_cast<const float*>(p_.w.data) + size_t{row} * p_.w.row_stride;
        const auto* const r = static_cast<const float*>(p_.r.data) + size_t{row} * p_.r.row_stride;
        // Rows are padded with zeros; those of a channel's gates lie 16 apart.
#pragma unroll
        for (uint32_t g = 0; g < 4; ++g) {
          const uint32_t at = to + g * gate;
          CopyAsync16(shared_ + at_.w + at, w + g * 16 * p_.w.row_stride + col, 16);
          CopyAsync16(shared_ + at_.r + at, r + g * 16 * p_.r.row_stride + col, 16);
        }
      });
    } else {
      EachWord(from, [this](uint32_t row, uint32_t col, uint32_t to, uint32_t gate) {
#pragma unroll
        for (uint32_t g = 0; g < 4; ++g) {
          CopyWord(p_.w, row + g * 16, col, shared_ + at_.w + to + g * gate);
          CopyWord(p_.r, row + g * 16, col, shared_ + at_.r + to + g * gate);
        }
      });
    }
  }
  // f(row of the first gate, column, where it goes, how far the gates lie apart there).
  template <class F>
  __device__ void EachWord(uint32_t from, const F& f) const {
    const uint32_t here = min(p_.heads_at_once, p_.heads - from) * p_.dim;
    for (uint32_t row = threadIdx.x / 8; row < here; row += blockDim.x / 8) {  // 8 threads a row
      const uint32_t source = RowOf(from * p_.dim + row, 0);
      for (uint32_t col = threadIdx.x % 8 * 4; col < at_.head; col += 32) {
        f(source, col, row * at_.row + col, here * at_.row);
      }
    }
  }
  __device__ void CopyWord(const AnyMatrix& w, uint32_t row, uint32_t col, float* to) const {
    const size_t at = size_t{row} * w.row_stride + col;
    if (w.dtype == DType::f32) {  // rows are padded with zeros
      CopyAsync16(to, static_cast<const float*>(w.data) + at, 16);
    } else {
      const float scale = w.scale ? w.scale[row] : 1;
      const float4 v = w.Numbers4(at);
      *reinterpret_cast<float4*>(to) = {v.x * scale, v.y * scale, v.z * scale, v.w * scale};
    }
  }

  // Whether x may be read four channels at a time.
  __device__ bool Quads() const {
    return at_.head == p_.dim && f_.stride % 4 == 0 &&
           reinterpret_cast<uintptr_t>(f_.data + p_.x) % 16 == 0;
  }
  template <int kWide>
  struct alignas(4 * kWide) Group {
    float v[kWide];
  };
  template <int kWide>
  __device__ static Group<kWide> GroupAt(const float* from) {
    return *reinterpret_cast<const Group<kWide>*>(from);
  }

  // x and its norm; a warp a lane, kWide channels of it a thread.
  template <int kWide>
  __device__ void Normalise() {
    const uint32_t begin = threadIdx.x % 32 * kWide;
    const float count = static_cast<float>(p_.channels);
    for (uint32_t lane = threadIdx.x / 32; lane < here_; lane += blockDim.x / 32) {
      const float* const from = Frame(lane) + p_.x;
      float* const x = shared_ + at_.x + lane * p_.channels;
      float* const u = shared_ + at_.u + lane * at_.wide;
#pragma unroll 2
      for (uint32_t i = begin; i < p_.channels; i += 32 * kWide) {
        *reinterpret_cast<Group<kWide>*>(x + i) = GroupAt<kWide>(from + i);
      }
      __syncwarp();
      const float first = p_.norm_center ? x[0] : 0;
      float mean = 0, squares = 0;
      if (p_.norm_center) {
#pragma unroll 1
        for (uint32_t i = begin; i < p_.channels; i += 32 * kWide) {
          const auto v = GroupAt<kWide>(x + i);
#pragma unroll
          for (int j = 0; j < kWide; ++j) mean += v.v[j] - first;
        }
        mean = first + SumOver<32>(mean) / count;
      }
#pragma unroll 1
      for (uint32_t i = begin; i < p_.channels; i += 32 * kWide) {
        const auto v = GroupAt<kWide>(x + i);
#pragma unroll
        for (int j = 0; j < kWide; ++j) squares = fmaf(v.v[j] - mean, v.v[j] - mean, squares);
      }
      const float r = 1 / sqrtf(SumOver<32>(squares) / count + p_.norm_eps);
      const float offset = p_.norm_weight ? p_.norm_offset : 1;
#pragma unroll 1
      for (uint32_t i = begin; i < at_.wide; i += 32 * kWide) {
        uint32_t d = 0, channel = i;
        if (kWide == 1 && at_.head != p_.dim) {
          d = i % at_.head;
          channel = i / at_.head * p_.dim + d;
        }
        Group<kWide> v = {};
        if (kWide > 1 || d < p_.dim) {
          v = GroupAt<kWide>(x + channel);
          const auto w = GroupAt<kWide>(shared_ + at_.norm_w + channel);
          const auto b = GroupAt<kWide>(shared_ + at_.norm_b + channel);
#pragma unroll
          for (int j = 0; j < kWide; ++j) {
            v.v[j] = fmaf((v.v[j] - mean) * r, w.v[j] + offset, b.v[j]);
          }
        }
        *reinterpret_cast<Group<kWide>*>(u + i) = v;
      }
    }
  }

  // Few lanes leave registers to read what the end needs at the start.
  static constexpr bool kEarly = kLanes < 4;
  // Elements of the convolution that a thread reads before it uses any.
  static constexpr int kBatch = kLanes < 4 ? 1 : 4;

  struct Inputs {
    float past[kMostTaps - 1], tap[kMostTaps], bias, y;
  };
  // i counts lanes and, in each, the elements of heads as they lie in shared memory.
  __device__ bool Locate(uint32_t i, uint32_t* lane, uint32_t* channel) const {
    *lane = i / at_.wide;
    *channel = i - *lane * at_.wide;
    if (at_.head == p_.dim) return *lane < here_;
    const uint32_t d = *channel % at_.head;
    *channel = *channel / at_.head * p_.dim + d;
    return d < p_.dim && *lane < here_;
  }
  // Of elements i, i + blockDim.x, ...
  __device__ void LoadWeights(uint32_t i, Inputs (&in)[kBatch]) const {
#pragma unroll
    for (int b = 0; b < kBatch; ++b) {
      uint32_t lane, channel;
      if (p_.kernel == 0 || !Locate(i + b * blockDim.x, &lane, &channel)) continue;
#pragma unroll
      for (uint32_t j = 0; j < kMostTaps; ++j) {
        if (j < p_.kernel) in[b].tap[j] = p_.conv_weight[j * p_.conv_stride + channel];
      }
      in[b].bias = p_.conv_bias[channel];
    }
  }
  __device__ void LoadState(uint32_t i, Inputs (&in)[kBatch]) const {
#pragma unroll
    for (int b = 0; b < kBatch; ++b) {
      uint32_t lane, channel;
      if (!Locate(i + b * blockDim.x, &lane, &channel)) continue;
      const float* const frame = Frame(lane) + channel;
#pragma unroll
      for (uint32_t j = 0; j + 1 < kMostTaps; ++j) {
        if (j + 1 < p_.kernel) in[b].past[j] = frame[p_.history + j * p_.conv_stride];
      }
      in[b].y = frame[p_.y];
    }
  }

  // The convolution with its history, and the previous y beside it.
  __device__ void Convolve(Inputs (&in)[kBatch]) {
    const uint32_t all = here_ * at_.wide;
    for (uint32_t i = threadIdx.x; i < all; i += kBatch * blockDim.x) {
      if (i != threadIdx.x) {
        LoadWeights(i, in);
        LoadState(i, in);
      }
#pragma unroll
      for (int b = 0; b < kBatch; ++b) {
        if (i + b * blockDim.x < all) ConvolveOne(i + b * blockDim.x, in[b]);
      }
    }
  }
  __device__ void ConvolveOne(uint32_t i, const Inputs& in) {
    uint32_t lane, channel;
    if (!Locate(i, &lane, &channel)) {
      shared_[at_.conv + i] = shared_[at_.y + i] = 0;
      return;
    }
    const float u = shared_[at_.u + i];
    float c = u;
    if (p_.kernel > 0) {
      float* const history = Frame(lane) + p_.history + channel;
      const bool active = Active(lane);
      float sum = 0;
#pragma unroll
      for (uint32_t j = 0; j + 1 < kMostTaps; ++j) {
        if (j + 1 >= p_.kernel) break;
        sum = fmaf(in.past[j], in.tap[j], sum);
        if (active) {
          history[j * p_.conv_stride] =
              j + 2 < p_.kernel ? in.past[j + 2 < kMostTaps ? j + 1 : 0] : u;
        }
      }
#pragma unroll
      for (uint32_t j = 0; j < kMostTaps; ++j) {
        if (j + 1 == p_.kernel) sum = fmaf(u, in.tap[j], sum);
      }
      c = Silu(sum + in.bias);
    }
    shared_[at_.conv + i] = c;
    shared_[at_.y + i] = in.y;
  }

  // What a thread's products meet at the end: c, n, m of its lanes and the biases of its channel.
  struct Cells {
    SlstmState<float> state[kLanes];
    float bias[4];
  };
  __device__ void LoadCells(uint32_t lane, uint32_t channel, Cells* to) const {
#pragma unroll
    for (int l = 0; l < kLanes; ++l) {
      const float* const frame = Frame(min(lane + l, here_ - 1)) + channel;
      to->state[l].c = frame[p_.c];
      to->state[l].n = p_.lstm ? 0 : frame[p_.n];
      to->state[l].m = p_.lstm ? 0 : frame[p_.m];
    }
  }
  __device__ void LoadBias(uint32_t channel, Cells* to) const {
#pragma unroll
    for (int g = 0; g < 4; ++g) to->bias[g] = p_.r.bias[RowOf(channel, g)];
  }

  // Products and cell of `heads` heads from `from` on.
  __device__ void Step(uint32_t from, uint32_t heads, Cells cells) {
    const uint32_t channels = heads * p_.dim, groups = (here_ + kLanes - 1) / kLanes;
    for (uint32_t item = threadIdx.x; item < channels * groups; item += blockDim.x) {
      const uint32_t local = item % channels, lane = item / channels * kLanes;
      const uint32_t channel = from * p_.dim + local;
      const uint32_t input = lane * at_.wide + channel / p_.dim * at_.head;
      const float *const u = shared_ + at_.u + input, *const conv = shared_ + at_.conv + input;
      const float* const y = shared_ + at_.y + input;
      const float* const w = shared_ + at_.w + local * at_.row;
      const float* const r = shared_ + at_.r + local * at_.row;
      if (!kEarly || item != threadIdx.x || from > 0) {
        LoadCells(lane, channel, &cells);
        LoadBias(channel, &cells);
      }
      float raw[4][kLanes] = {};
      const uint32_t gate = channels * at_.row;  // from gate to gate
      for (uint32_t d = 0; d < at_.head; d += 4) {
        Multiply(w + d, conv + d, raw[0]);
        Multiply(w + gate + d, conv + d, raw[1]);
        Multiply(w + 2 * gate + d, u + d, raw[2]);
        Multiply(w + 3 * gate + d, u + d, raw[3]);
#pragma unroll
        for (int g = 0; g < 4; ++g) Multiply(r + g * gate + d, y + d, raw[g]);
      }
#pragma unroll
      for (int l = 0; l < kLanes; ++l) {
        if (lane + l >= here_) break;
        const float of_lane[4] = {raw[0][l] + cells.bias[0], raw[1][l] + cells.bias[1],
                                  raw[2][l] + cells.bias[2], raw[3][l] + cells.bias[3]};
        Cell(lane + l, channel, of_lane, cells.state[l]);
      }
    }
  }
  __device__ void Multiply(const float* w, const float* x, float (&sum)[kLanes]) const {
    const float4 a = *reinterpret_cast<const float4*>(w);
#pragma unroll
    for (int l = 0; l < kLanes; ++l) {
      const float4 b = *reinterpret_cast<const float4*>(x + l * at_.wide);
      sum[l] = fmaf(a.w, b.w, fmaf(a.z, b.z, fmaf(a.y, b.y, fmaf(a.x, b.x, sum[l]))));
    }
  }

  __device__ void Cell(uint32_t lane, uint32_t channel, const float (&raw)[4],
                       SlstmState<float> state) {
    float* const frame = Frame(lane);
    shared_[at_.out + lane * p_.channels + channel] =
        SlstmPoint(raw, p_.forget_cap, p_.lstm, &state);
    if (!Active(lane)) return;
    frame[p_.c + channel] = state.c;
    if (p_.lstm) return;
    frame[p_.n + channel] = state.n;
    frame[p_.m + channel] = state.m;
  }

  // Eight threads a head of a lane.
  __device__ void Output() {
    const uint32_t thread = threadIdx.x % 8, all = here_ * p_.heads;
    for (uint32_t at = 0; at < all; at += blockDim.x / 8) {  // the same for all: sums over threads
      const uint32_t item = min(at + threadIdx.x / 8, all - 1);
      const uint32_t lane = item / p_.heads, channel = item % p_.heads * p_.dim;
      const float* const out = shared_ + at_.out + lane * p_.channels + channel;
      const float* const x = shared_ + at_.x + lane * p_.channels + channel;
      const float* const scale = shared_ + at_.out_w + channel;
      float* const frame = Frame(lane) + channel;
      float mean = 0, squares = 0;
#pragma unroll 4
      for (uint32_t d = thread; d < p_.dim; d += 8) mean += out[d] - out[0];
      mean = out[0] + SumOver<8>(mean) / static_cast<float>(p_.dim);
#pragma unroll 4
      for (uint32_t d = thread; d < p_.dim; d += 8) {
        squares = fmaf(out[d] - mean, out[d] - mean, squares);
      }
      const float r = 1 / sqrtf(SumOver<8>(squares) / static_cast<float>(p_.dim) + p_.out_eps);
      if (at + threadIdx.x / 8 >= all || !Active(lane)) continue;
#pragma unroll 4
      for (uint32_t d = thread; d < p_.dim; d += 8) {
        const float v = (out[d] - mean) * r;
        frame[p_.y + d] = out[d];
        frame[p_.x + d] = fmaf(v, 1 + scale[d], x[d]);
      }
    }
  }

  const SlstmLayer& p_;
  const Frames<float>& f_;
  const SlstmShared at_;
  float* const shared_;
  const size_t first_;
  const uint32_t here_;  // lanes of this block that exist
};

template <int kLanes>
__global__ void __launch_bounds__(512, 1)
    SlstmLayerKernel(const __grid_constant__ SlstmLayer p,
                     const __grid_constant__ Frames<float> f) {
  extern __shared__ __align__(16) float layer_shared[];
  SlstmLanes<kLanes>(p, f, layer_shared).Run();
}

}  // namespace xst::kernels::cuda
