// The sLSTM cell step by step: one channel of it, and heads that a pair of warps takes.
#pragma once

#include "kernels/cuda/lane.cuh"
#include "kernels/cuda/math.cuh"
#include "kernels/cuda/weights.cuh"

namespace xst::kernels::cuda::sequence {

// Of a gate of a channel, in R, bias and wx.
__device__ inline uint32_t RowOf(uint32_t channel, uint32_t gate) {
  return channel / 16 * 64 + gate * 16 + channel % 16;
}

// R[row][k ... k + 3], k a multiple of 4; 0 beyond its columns, as its rows are padded.
template <class W>
__device__ float4 WeightsAt(const Matrix& r, uint32_t row, uint32_t k) {
  using Element = typename W::Element;
  struct alignas(4 * sizeof(Element)) Four {
    Element e[4];
  };
  const size_t stride = RowStride(r.dtype, r.cols);
  if (k >= stride) return {};
  const Four four =
      *reinterpret_cast<const Four*>(static_cast<const Element*>(r.data) + row * stride + k);
  float4 w = {W::Number(four.e[0]), W::Number(four.e[1]), W::Number(four.e[2]),
              W::Number(four.e[3])};
  if constexpr (W::kScaled) {
    const float scale = r.scale[row];
    w = {w.x * scale, w.y * scale, w.z * scale, w.w * scale};
  }
  return w;
}

template <class T>
struct CellState {
  T c, n, m;
};

template <class T>
__device__ CellState<T> LoadState(const SlstmCell& o, const T* frame, uint32_t channel) {
  if (o.lstm) return {frame[o.c + channel], T(0), T(0)};
  return {frame[o.c + channel], frame[o.n + channel], frame[o.m + channel]};
}

template <class T>
__device__ void StoreState(const SlstmCell& o, T* frame, uint32_t channel, const CellState<T>& s,
                           T out) {
  frame[o.c + channel] = s.c;
  frame[o.y + channel] = Rounded(out);
  if (o.lstm) return;
  frame[o.n + channel] = s.n;
  frame[o.m + channel] = s.m;
}

// The output of one channel; moves its state.
template <class T>
__device__ T Step(const SlstmCell& o, T i, T f, T z, T gate, CellState<T>* s) {
  if (o.lstm) {
    const T c = MulAdd(Sigmoid(f), s->c, Sigmoid(i) * tanh(z));
    s->c = Rounded(c);
    return Sigmoid(gate) * tanh(c);
  }
  const T lfm = s->m + LogSigmoid(fmin(f, T(o.forget_cap)));
  const T m = s->n == 0 ? i : fmax(i, lfm);
  const T input = fmin(exp(i - m), T(1));
  const T forget = fmin(exp(lfm - m), T(1));
  const T c = MulAdd(forget, s->c, input * tanh(z));
  const T n = MulAdd(forget, s->n, input);
  s->m = Rounded(m);
  if constexpr (sizeof(T) == sizeof(double)) {
    const T rescale = exp(m - s->m);  // c and n follow the m that is kept
    s->c = Rounded(c * rescale);
    s->n = Rounded(n * rescale);
  } else {
    s->c = c;
    s->n = n;
  }
  return Sigmoid(gate) * c / n;
}

// What Step weighs the new input and the old state by; moves m.
__device__ inline float2 InputForget(const SlstmCell& o, float i, float f, CellState<float>* s) {
  if (o.lstm) return {Sigmoid(i), Sigmoid(f)};
  const float lfm = s->m + LogSigmoid(fminf(f, o.forget_cap));
  s->m = s->n == 0 ? i : fmaxf(i, lfm);
  return {fminf(expf(i - s->m), 1.0f), fminf(expf(lfm - s->m), 1.0f)};
}

// A head of up to kDim <= 32 channels of one lane is a pair of warps: a thread holds R of two gates
// of a channel, i and f in the first warp, z and o in the second. They meet once a step, and both
// move c and n.
inline constexpr int kPairs = 2, kAhead = 4;

__device__ inline void MeetPair(uint32_t pair) {
  asm volatile("bar.sync %0, 64;" ::"r"(pair + 1) : "memory");
}

template <class W, int kDim>
__global__ void __launch_bounds__(kPairs * 64, 1)
    PairScanKernel(SlstmCell o, Sequence<float> s, uint32_t heads) {
  __shared__ __align__(16) float shared_y[kPairs][2][2][kDim];
  __shared__ float2 shared_gates[kPairs][2][2][32];  // of even and odd steps, of each warp
  const uint32_t pair = threadIdx.x / 64, task = blockIdx.x * kPairs + pair;
  const uint32_t part = threadIdx.x / 32 % 2, thread = threadIdx.x % 32;
  if (task >= heads * s.state.lanes) return;
  const uint32_t head = task % heads;
  const size_t lane = task / heads;
  if (!IsActive(s.state, lane)) return;
  const bool real = thread < o.dim;
  const uint32_t channel = head * o.dim + (real ? thread : 0);
  float(&y)[2][kDim] = shared_y[pair][part];
  float* frame = s.state.data + lane * s.state.stride;
  float* tokens = s.tokens.data + lane * s.steps * s.tokens.stride;

  float r[2][kDim], bias[2], ahead[kAhead][2];
  const float* wx[2];
#pragma unroll
  for (int g = 0; g < 2; ++g) {
    const uint32_t row = RowOf(channel, 2 * part + g);
#pragma unroll
    for (int k = 0; k < kDim; k += 4) {
      const float4 w = WeightsAt<W>(o.r, row, k);
      r[g][k] = w.x;
      r[g][k + 1] = w.y;
      r[g][k + 2] = w.z;
      r[g][k + 3] = w.w;
    }
    bias[g] = o.bias[row];
    wx[g] = tokens + o.wx + row;
  }
  const auto fetch = [&](uint32_t t, float(&to)[2]) {
    if (t >= s.steps) return;
#pragma unroll
    for (int g = 0; g < 2; ++g) to[g] = wx[g][t * s.tokens.stride];
  };
#pragma unroll
  for (int a = 0; a < kAhead; ++a) fetch(a, ahead[a]);
  CellState<float> state = LoadState(o, frame, channel);
  float out = 0;
  if (thread < kDim) y[0][thread] = real ? frame[o.y + channel] : 0;
  MeetPair(pair);  // the first warp writes y back

  for (uint32_t begin = 0; begin < s.steps; begin += kAhead) {
#pragma unroll
    for (int a = 0; a < kAhead; ++a) {
      const uint32_t t = begin + a;
      if (t >= s.steps) break;
      const float4* last = reinterpret_cast<const float4*>(y[a % 2]);
      float sums[2][2] = {};
#pragma unroll
      for (int k = 0; k < kDim / 4; ++k) {
        const float4 v = last[k];
#pragma unroll
        for (int g = 0; g < 2; ++g) {
          sums[g][0] = fmaf(r[g][4 * k], v.x, sums[g][0]);
          sums[g][1] = fmaf(r[g][4 * k + 1], v.y, sums[g][1]);
          sums[g][0] = fmaf(r[g][4 * k + 2], v.z, sums[g][0]);
          sums[g][1] = fmaf(r[g][4 * k + 3], v.w, sums[g][1]);
        }
      }
      float raw[2];
#pragma unroll
      for (int g = 0; g < 2; ++g) raw[g] = (ahead[a][g] + (sums[g][0] + sums[g][1])) + bias[g];
      fetch(t + kAhead, ahead[a]);
      float2 mine;
      if (part == 0) {
        mine = InputForget(o, raw[0], raw[1], &state);
      } else {
        mine = {tanhf(raw[0]), Sigmoid(raw[1])};
      }
      float2(&gates)[2][32] = shared_gates[pair][a % 2];
      gates[part][thread] = mine;
      MeetPair(pair);
      const float2 other = gates[1 - part][thread];
      const float2 weights = part == 0 ? mine : other, value = part == 0 ? other : mine;
      state.c = MulAdd(weights.y, state.c, weights.x * value.x);
      if (o.lstm) {
        out = value.y * tanhf(state.c);
      } else {
        state.n = MulAdd(weights.y, state.n, weights.x);
        out = value.y * state.c / state.n;
      }
      if (thread < kDim) y[(a + 1) % 2][thread] = real ? out : 0;
      if (real && part == 0) tokens[t * s.tokens.stride + o.out + channel] = out;
      __syncwarp();
    }
  }
  if (real && part == 0) StoreState(o, frame, channel, state, out);
}

}  // namespace xst::kernels::cuda::sequence
