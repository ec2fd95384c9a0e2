// The sLSTM block of the fixed shape: heads of 32, 8 channels a CTA.
#pragma once

#include "kernels/cuda/on_chip_fixed.cuh"

namespace xst::kernels::cuda {

// SlstmPoint by FastDivide, FastExp and FastLogSigmoid.
__device__ __forceinline__ float FastSlstmPoint(const float (&raw)[4], SlstmState<float>* s) {
  const float z = tanhf(raw[2]), o = FastDivide(1.0f, 1 + FastExp(-raw[3]));
  const float lfm = s->m + FastLogSigmoid(raw[1]);
  const float m = s->n == 0 ? raw[0] : fmaxf(raw[0], lfm);
  const float add = fminf(FastExp(raw[0] - m), 1.0f), keep = fminf(FastExp(lfm - m), 1.0f);
  s->c = MulAdd(keep, s->c, add * z);
  s->n = MulAdd(keep, s->n, add);
  s->m = m;
  return FastDivide(o * s->c, s->n);
}

template <class Real, class W, class E, class P>
__device__ __forceinline__ void Cta<Real, W, E, P>::SlstmFixed() {
  const auto& s = S();
  constexpr uint32_t kReal = sizeof(Real);
  const uint32_t t = threadIdx.x, lane = t & 31, warp = t / 32;
  const uint32_t y_new = s.ss.y + (parity_ ^ 1) * s.ss.y_parity;

  // 1. The recurrent products of row t / 4 (8 channels x 4 gates), 8 columns a thread; then u and c
  // of the head's 32 channels, by warp 0.
  const uint32_t row = t / 4, col = 4 * (t % 4), gate = row % 4;
  Real sums[2];
  typename Packed<W>::Word w[2];
  {
    const Real* y = State(s.ss.y + parity_ * s.ss.y_parity) + conv_begin_ + col;
    Real dots[4] = {};
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      w[i] = LoadPacked<W>(Bytes(block_ + s.s.w), row * 32 + col + 16 * i);
      AddProducts(Packed<W>::Numbers(LoadPacked<W>(Bytes(block_ + s.s.r), row * 32 + col + 16 * i)),
                  LoadFour(y + 16 * i), dots);
    }
    sums[1] = Total(dots);
  }
  Real scale[2] = {1, 1};
  if constexpr (W::kScaled) {
    scale[0] = Image(s.s.w_scale)[row];
    scale[1] = Image(s.s.r_scale)[row];
  }
  const Real bias = Image(s.s.bias)[row];
  SlstmState<Real> state{State(s.ss.c)[row / 4], State(s.ss.n)[row / 4], State(s.ss.m)[row / 4]};
  WaitForX();
  // x, before anything is sent: 4 neighbours of each half.
  const uint32_t at = lane % 16 * 4;
  Four<Real> x4[2] = {LoadFour(X() + at), LoadFour(X() + at + 64)};
  if (warp == 0) {
    Real* history = State(s.ss.history) + 3 * lane;
    const Four<Real> taps = LoadFour(Image(s.s.conv) + 4 * lane);
    const Real past[3] = {history[0], history[1], history[2]};
    const Real norm = Image(s.s.norm)[conv_begin_ + lane], x = X()[conv_begin_ + lane];
    const Real before =
        MulAdd(past[2], taps.v[2],
               MulAdd(past[1], taps.v[1], MulAdd(past[0], taps.v[0], Image(s.s.conv_bias)[lane])));
    const NormStats<Real> stats = StatsByLanes<16>(X(), 128, s.s_norm_eps, lane % 16);
    const Real u = (x - stats.shift - stats.delta) * stats.scale * norm;
    At(s.u)[lane] = u;
    At(s.conv_u)[lane] = FastSilu(MulAdd(u, taps.v[3], before));
    history[0] = past[1];
    history[1] = past[2];
    history[2] = u;
  }
  Stamp(2);
  __syncthreads();
  Stamp(3);

  // 2. The cell; 16 threads have a channel and send its output to a CTA each.
  {
    const Real* input = At(gate < 2 ? s.conv_u : s.u) + col;
    Real dots[4] = {};
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      AddProducts(Packed<W>::Numbers(w[i]), LoadFour(input + 16 * i), dots);
    }
    sums[0] = Total(dots);
    SumLanes<4>(sums);
    const Real own = W::kScaled ? MulAdd(sums[0], scale[0], MulAdd(sums[1], scale[1], bias))
                                : sums[0] + sums[1] + bias;
    Real raw[4];
#pragma unroll
    for (int g = 0; g < 4; ++g) raw[g] = __shfl_sync(0xffffffffu, own, (lane & 16) + 4 * g);
    const Real out = FastSlstmPoint(raw, &state);
    const uint32_t channel = row / 4;
    ex_.Send(kToNorm, lane & 15, state_ + y_new + (row_ + channel) * kReal, out);
    if ((lane & 15) == 0) {
      State(s.ss.c)[channel] = state.c;
      State(s.ss.n)[channel] = state.n;
      State(s.ss.m)[channel] = state.m;
    }
  }
  Stamp(4);

  // 3. x += headnorm(y), by every half warp; then rows of the feed-forward, 8 a warp, by 3 of them.
  EightRows<W, Real> up;
  const bool feeds = warp < 3;
  if (feeds) {
    up.Load({Bytes(block_ + s.s.up), Image(s.s.up_scale), nullptr, Image(s.s.up_sum),
             Image(s.s.ff_norm), 0},
            8 * warp);
  }
  {
    const Real* y = State(y_new);
    const Four<Real> weight[2] = {LoadFour(Image(s.s.group_norm) + at),
                                  LoadFour(Image(s.s.group_norm) + at + 64)};
    AfterX();
    ex_.Await(kToNorm);
    Stamp(5);
    Four<Real> y4[2] = {LoadFour(y + at), LoadFour(y + at + 64)};
    Real shift[2], of_y[4] = {};  // sum and squares in both heads
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      shift[i] = Total(LoadFour(y + at / 32 * 32 + 64 * i).v) * Real(0.25);
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        y4[i].v[j] -= shift[i];
        of_y[2 * i] += y4[i].v[j];
        of_y[2 * i + 1] = MulAdd(y4[i].v[j], y4[i].v[j], of_y[2 * i + 1]);
      }
    }
    SumLanes<8>(of_y);
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const NormStats<Real> stats =
          StatsOf(shift[i], of_y[2 * i], of_y[2 * i + 1], 32, s.group_eps);
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        x4[i].v[j] = MulAdd((y4[i].v[j] - stats.delta) * stats.scale, weight[i].v[j], x4[i].v[j]);
      }
    }
  }
  if (feeds) {
    const Real shift = __shfl_sync(0xffffffffu, Total(x4[0].v) * Real(0.25), 0);
    const Real v = up.Product(x4, shift, s.ff_eps);
    const Real pair = __shfl_xor_sync(0xffffffffu, v, 4);
    const Real gate = lane & 4 ? pair : v;
    const Real active = __builtin_expect(s.act == Activation::gelu, 1)
                            ? Activate(Activation::gelu, gate)
                            : Activate(s.act, gate);
    const Real p = active * (lane & 4 ? v : pair);
    const float4 elements = OfEighths(p);
    if (lane < 16) {
      ex_.Send4(kToFeedForward, lane, s.p + (12 * rank_ + 4 * warp) * kReal, elements);
    }
  }
  Stamp(6);

  // 4. A row of its down projection a half warp; a lane has 12 columns.
  {
    const uint32_t down_row = 2 * warp + lane / 16;
    typename Packed<W>::Word weights[3];
#pragma unroll
    for (int i = 0; i < 3; ++i) {
      weights[i] = LoadPacked<W>(Bytes(block_ + s.s.down), down_row * 192 + at + 64 * i);
    }
    // x of both rows of the warp is in one lane of each half.
    const uint32_t four = (row_ + 2 * warp) / 4;
    Real own[2];
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const Real low = warp & 1 ? x4[0].v[2 + i] : x4[0].v[i];
      const Real high = warp & 1 ? x4[1].v[2 + i] : x4[1].v[i];
      own[i] = __shfl_sync(0xffffffffu, four < 16 ? low : high, four % 16);
    }
    const Real x = lane < 16 ? own[0] : own[1];
    Real factor = 1;
    if constexpr (W::kScaled) factor = Image(s.s.down_scale)[down_row];
    ex_.Rearm(kToNorm, expect_[kToNorm]);
    ex_.Await(kToFeedForward);
    Stamp(7);
    Real dots[4] = {};
#pragma unroll
    for (int i = 0; i < 3; ++i) {
      AddProducts(Packed<W>::Numbers(weights[i]), LoadFour(At(s.p) + at + 64 * i), dots);
    }
    Real y[1] = {Total(dots)};
    SumLanes<16>(y);
    ex_.Send(kToBlock, lane & 15, s.x + (row_ + down_row) * kReal,
             W::kScaled ? MulAdd(y[0], factor, x) : x + y[0]);
    CloseX();
    ex_.Rearm(kToFeedForward, expect_[kToFeedForward]);
  }
  block_ += s.s.bytes;
  state_ += s.ss.bytes;
}

}  // namespace xst::kernels::cuda
