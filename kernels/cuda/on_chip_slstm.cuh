// An sLSTM block: the new outputs to everyone, then the feed-forward in two exchanges.
#pragma once

#include "kernels/cuda/on_chip_cta.cuh"

namespace xst::kernels::cuda {

template <class Real, class W, class E, class P>
__device__ __forceinline__ void Cta<Real, W, E, P>::Slstm() {
  if constexpr (P::kFixed) {
    SlstmFixed();
    return;
  }
  SlstmConvolve();
  SlstmCells();
  SlstmNorm();
  if (S().ff) SlstmFeedForward();
  block_ += S().s.bytes;
  state_ += S().ss.bytes;
}

// u = norm(x) and c = silu(conv(u)) of the channels of the heads of the own channels.
template <class Real, class W, class E, class P>
__device__ __forceinline__ void Cta<Real, W, E, P>::SlstmConvolve() {
  const auto& s = S();
  WaitForX();
  const Real* x = X();
  const NormStats<Real> stats = StatsByLanes<8>(x, s.width, s.s_norm_eps, threadIdx.x & 7);
  for (uint32_t i = threadIdx.x; i < conv_count_; i += kThreads) {
    const uint32_t channel = conv_begin_ + i;
    const Real v =
        (x[channel] - stats.shift - stats.delta) * stats.scale * Image(s.s.norm)[channel];
    At(s.u)[i] = v;
    if (s.s_kernel == 0) continue;  // conv_u is u
    At(s.conv_u)[i] =
        Convolve(State(s.ss.history) + i * (s.s_kernel - 1), Image(s.s.conv) + i * s.s_kernel,
                 s.s_kernel, Image(s.s.conv_bias)[i], v);
  }
  Stamp(2);
  __syncthreads();
  Stamp(3);
}

// A warp a channel, 8 threads a gate.
template <class Real, class W, class E, class P>
__device__ __forceinline__ void Cta<Real, W, E, P>::SlstmCells() {
  const auto& s = S();
  constexpr uint32_t kReal = sizeof(Real);
  const uint32_t warp = threadIdx.x / 32, of_warp = threadIdx.x & 31;
  const uint32_t gate = of_warp / 8, lane = of_warp & 7;
  const uint32_t dim4 = OnChipShape::Pad4(s.s_dim);
  const Real* y = State(s.ss.y + parity_ * s.ss.y_parity);
  const uint32_t y_new = state_ + s.ss.y + (parity_ ^ 1) * s.ss.y_parity;
  for (uint32_t i = warp; i < rows_; i += kThreads / 32) {
    const uint32_t head = (row_ + i) / s.s_dim * s.s_dim, row = 4 * i + gate;
    const Real* input = At(gate < 2 ? s.conv_u : s.u) + (head - conv_begin_);
    const uint8_t* w = Bytes(block_ + s.s.w);
    const uint8_t* r = Bytes(block_ + s.s.r);
    Real sum_w[4] = {}, sum_r[4] = {};
#pragma unroll 1
    for (uint32_t col = 4 * lane; col < dim4; col += 32) {
      const Four<float> w4 = Packed<W>::Numbers(LoadPacked<W>(w, size_t{row} * dim4 + col));
      const Four<float> r4 = Packed<W>::Numbers(LoadPacked<W>(r, size_t{row} * dim4 + col));
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        if (col + j >= s.s_dim) continue;
        sum_w[j] = MulAdd(Real(w4.v[j]), input[col + j], sum_w[j]);
        sum_r[j] = MulAdd(Real(r4.v[j]), y[head + col + j], sum_r[j]);
      }
    }
    Real sums[2] = {Total(sum_w), Total(sum_r)};
    SumLanes<8>(sums);
    if constexpr (W::kScaled) {
      sums[0] *= Image(s.s.w_scale)[row];
      sums[1] *= Image(s.s.r_scale)[row];
    }
    const Real own = sums[0] + sums[1] + Image(s.s.bias)[row];
    Real raw[4];
#pragma unroll
    for (int g = 0; g < 4; ++g) raw[g] = __shfl_sync(0xffffffffu, own, 8 * g);
    SlstmState<Real> state{State(s.ss.c)[i], State(s.ss.n)[i], State(s.ss.m)[i]};
    const Real out = SlstmPoint(raw, s.forget_cap, s.lstm, &state);
    __syncwarp();
    if (of_warp == 0) {
      State(s.ss.c)[i] = Rounded(state.c);
      State(s.ss.n)[i] = Rounded(state.n);
      State(s.ss.m)[i] = Rounded(state.m);
    }
    for (uint32_t p = of_warp; p < s.ctas; p += 32) {
      ex_.Send(kToNorm, p, y_new + (row_ + i) * kReal, out);
    }
  }
  ex_.Close(kToNorm);
  Stamp(4);
}

// x += headnorm(y), by everyone for all of x.
template <class Real, class W, class E, class P>
__device__ __forceinline__ void Cta<Real, W, E, P>::SlstmNorm() {
  const auto& s = S();
  const uint32_t at = state_ + s.ss.y + (parity_ ^ 1) * s.ss.y_parity;
  ex_.Wait(kToNorm, at, OnChipShape::Pad4(s.width) * uint32_t(sizeof(Real)), expect_[kToNorm]);
  Stamp(5);
  Real* y = At(at);
  const uint32_t lane = threadIdx.x & 31;
  for (uint32_t head = threadIdx.x / 32; head < s.s_heads; head += kThreads / 32) {
    const uint32_t begin = head * s.s_dim;
    const Real shift = y[begin];
    Real mean[1] = {0};
    for (uint32_t i = lane; i < s.s_dim; i += 32) mean[0] += y[begin + i] - shift;
    SumLanes<32>(mean);
    mean[0] = mean[0] / Real(s.s_dim);
    Real square[1] = {0};
    for (uint32_t i = lane; i < s.s_dim; i += 32) {
      const Real v = y[begin + i] - shift - mean[0];
      square[0] = MulAdd(v, v, square[0]);
    }
    SumLanes<32>(square);
    const Real scale = InverseRoot(square[0] / Real(s.s_dim) + Real(s.group_eps));
    __syncwarp();
    for (uint32_t i = lane; i < s.s_dim; i += 32) {
      const Real v = y[begin + i];
      X()
      [begin + i] =
          MulAdd((v - shift - mean[0]) * scale, Image(s.s.group_norm)[begin + i], X()[begin + i]);
      y[begin + i] = Rounded(v);
    }
  }
  __syncthreads();
}

template <class Real, class W, class E, class P>
__device__ __forceinline__ void Cta<Real, W, E, P>::SlstmFeedForward() {
  const auto& s = S();
  constexpr uint32_t kReal = sizeof(Real);
  const ImageMatrix<Real> up = {
      Bytes(block_ + s.s.up), Image(s.s.up_scale), ImageIf(s.ff_up_bias, s.s.up_bias),
      Image(s.s.up_sum),      Image(s.s.ff_norm),  s.ff_eps};
  const ImageMatrix<Real> down = {Bytes(block_ + s.s.down),
                                  Image(s.s.down_scale),
                                  ImageIf(s.ff_down_bias, s.s.down_bias),
                                  nullptr,
                                  nullptr,
                                  0};
  const uint32_t first = s.First(rank_, s.own_ff, s.ff), count = s.Count(rank_, s.own_ff, s.ff);
  // Rows 2i and 2i + 1 of the image are element i's gate and linear part.
  NormedRows<W>(up, X(), s.width, 2 * count, [&](uint32_t row, Real v, uint32_t) {
    const Real pair = __shfl_xor_sync(0xffffffffu, v, 8);
    const Real gate = row % 2 ? pair : v, linear = row % 2 ? v : pair;
    if (row >= 2 * count) return;
    const Real p = Activate(s.act, gate) * linear;
    for (uint32_t to = threadIdx.x & 15; to < s.ctas; to += 16) {
      ex_.Send(kToFeedForward, to, s.p + (first + row / 2) * kReal, p);
    }
  });
  ex_.Close(kToFeedForward);
  Stamp(6);
  ex_.Wait(kToFeedForward, s.p, OnChipShape::Pad4(s.ff) * kReal, expect_[kToFeedForward]);
  Stamp(7);
  const Real* x = X();
  Rows<W, 16>(down, At(s.p), s.ff, rows_, [&](uint32_t i, Real v, uint32_t lane) {
    if (i < rows_) SendRow<16>(i, x[row_ + i] + v, lane);
  });
  CloseX();
}

}  // namespace xst::kernels::cuda
