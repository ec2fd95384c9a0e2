// The README's shape on 16 CTAs of 128 threads, one warp for each scheduler of a multiprocessor:
// what limits a step is how many instructions, shared memory reads and shuffles lie behind each
// other between two exchanges, so every warp does its part for 8 rows (or 2) at once, and all that
// does not depend on what arrives is done or loaded before the wait.
#pragma once

#include "kernels/cuda/on_chip_cta.cuh"

namespace xst::kernels::cuda {

// v[r] summed over each half of the warp; lane l gets row l / 4 % 4 of its half.
template <class Real>
__device__ __forceinline__ Real SumFourRows(const Real (&v)[4]) {
  const uint32_t lane = threadIdx.x & 31;
  const bool high2 = lane & 8, high1 = lane & 4;
  Real a[2];
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    a[i] = (high2 ? v[i + 2] : v[i]) + __shfl_xor_sync(0xffffffffu, high2 ? v[i] : v[i + 2], 8);
  }
  Real b = (high1 ? a[1] : a[0]) + __shfl_xor_sync(0xffffffffu, high1 ? a[0] : a[1], 4);
  b += __shfl_xor_sync(0xffffffffu, b, 2);
  return b + __shfl_xor_sync(0xffffffffu, b, 1);
}
// Of two rows; lanes 0 to 15 get row 0, the others row 1, summed over the lanes that differ in bits
// 3 and 4.
template <class Real>
__device__ __forceinline__ Real SumTwoRows(Real v0, Real v1) {
  const bool high = threadIdx.x & 16;
  const Real v = (high ? v1 : v0) + __shfl_xor_sync(0xffffffffu, high ? v0 : v1, 16);
  return v + __shfl_xor_sync(0xffffffffu, v, 8);
}

// The values of lanes 0, 8, 16 and 24.
__device__ __forceinline__ float4 OfEighths(float v) {
  return make_float4(__shfl_sync(0xffffffffu, v, 0), __shfl_sync(0xffffffffu, v, 8),
                     __shfl_sync(0xffffffffu, v, 16), __shfl_sync(0xffffffffu, v, 24));
}

template <class Real>
__device__ __forceinline__ Real SumOf16(const Real* v) {
  Four<Real> sum = LoadFour(v);
#pragma unroll
  for (int i = 4; i < 16; i += 4) {
    const Four<Real> more = LoadFour(v + i);
#pragma unroll
    for (int j = 0; j < 4; ++j) sum.v[j] += more.v[j];
  }
  return Total(sum.v);
}

// min(a, 0) - log1p(z), z = exp(-|a|): log1p(z) / z by a polynomial, relative error below 2e-7.
__device__ __forceinline__ float FastLogSigmoid(float a) {
  const float z = FastExp(-fabsf(a)), z2 = z * z, z4 = z2 * z2;
  const float p01 = MulAdd(z, -0.49999892711639404f, 1.0f);
  const float p23 = MulAdd(z, -0.24951615929603577f, 0.33329710364341736f);
  const float p45 = MulAdd(z, -0.1526966691017151f, 0.1966327428817749f);
  const float p67 = MulAdd(z, -0.056373611092567444f, 0.10543623566627502f);
  const float p89 = MulAdd(z, -0.0031760570127516985f, 0.019542526453733444f);
  const float low = MulAdd(z2, p23, p01), high = MulAdd(z2, p67, p45);
  return MulAdd(-z, MulAdd(z4, MulAdd(z4, p89, high), low), fminf(a, 0.0f));
}

// 8 rows of W norm(x) by a warp, 4 by each half of it, where a lane has 8 of 128 columns.
template <class W, class Real>
struct EightRows {
  typename Packed<W>::Word w[4][2];
  Four<Real> norm[2];
  Real sum, scale;

  // Rows from first_row; lane l finishes row l / 4.
  __device__ __forceinline__ void Load(const ImageMatrix<Real>& m, uint32_t first_row) {
    const uint32_t lane = threadIdx.x & 31, row = first_row + lane / 16 * 4, col = lane % 16 * 4;
#pragma unroll
    for (uint32_t i = 0; i < 2; ++i) {
#pragma unroll
      for (uint32_t r = 0; r < 4; ++r) {
        w[r][i] = LoadPacked<W>(m.data, (row + r) * 128 + col + 64 * i);
      }
      norm[i] = LoadFour(m.norm + col + 64 * i);
    }
    sum = m.sum[first_row + lane / 4];
    if constexpr (W::kScaled) scale = m.scale[first_row + lane / 4];
  }
  __device__ __forceinline__ Real Product(const Real* x, float eps) const {
    const uint32_t col = threadIdx.x % 16 * 4;
    return Product({LoadFour(x + col), LoadFour(x + col + 64)}, Shift(x, 128), eps);
  }
  // Of the lane's columns of x; shift: near their mean.
  __device__ __forceinline__ Real Product(const Four<Real> (&x)[2], Real shift, float eps) const {
    Four<Real> v[2] = {x[0], x[1]};
    Real sums[2], dots[4];
#pragma unroll
    for (int i = 0; i < 2; ++i) {
#pragma unroll
      for (int j = 0; j < 4; ++j) v[i].v[j] -= shift;
    }
    {
      Real squares[4];
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        squares[j] = MulAdd(v[0].v[j], v[0].v[j], v[1].v[j] * v[1].v[j]);
      }
      sums[0] = Total(v[0].v) + Total(v[1].v);
      sums[1] = Total(squares);
    }
#pragma unroll
    for (int i = 0; i < 2; ++i) {
#pragma unroll
      for (int j = 0; j < 4; ++j) v[i].v[j] *= norm[i].v[j];
    }
#pragma unroll
    for (int r = 0; r < 4; ++r) {
      const Four<float> n0 = Packed<W>::Numbers(w[r][0]), n1 = Packed<W>::Numbers(w[r][1]);
      Real part[2] = {Real(n0.v[0]) * v[0].v[0], Real(n1.v[0]) * v[1].v[0]};
#pragma unroll
      for (int j = 1; j < 4; ++j) {
        part[0] = MulAdd(Real(n0.v[j]), v[0].v[j], part[0]);
        part[1] = MulAdd(Real(n1.v[j]), v[1].v[j], part[1]);
      }
      dots[r] = part[0] + part[1];
    }
    const Real dot = SumFourRows(dots);
    SumLanes<16>(sums);
    const NormStats<Real> stats = StatsOf(shift, sums[0], sums[1], 128, eps);
    const Real y = MulAdd(-stats.delta, sum, dot) * stats.scale;
    if constexpr (W::kScaled) return y * scale;
    return y;
  }
};

template <class Real, class W, class E, class P>
__device__ __forceinline__ void Cta<Real, W, E, P>::MlstmFixed() {
  const auto& s = S();
  constexpr uint32_t kReal = sizeof(Real);
  const uint32_t t = threadIdx.x, lane = t & 31, warp = t / 32;
  Real* own_c = At(s.own_c);
  Real* own_a = At(s.own_a);
  Real* own_g = At(s.own_g);

  // 1. Rows of a (warps 0 and 1) and z; c = silu(conv(a)), g = silu(z).
  {
    EightRows<W, Real> up;
    up.Load({Bytes(block_ + s.m.up), Image(s.m.up_scale), nullptr, Image(s.m.up_sum),
             Image(s.m.norm), 0},
            8 * warp);
    const uint32_t row = (8 * warp + lane / 4) % 16;
    Real* history = State(s.ms.history) + 3 * row;
    const Four<Real> taps = LoadFour(Image(s.m.conv) + 4 * row);
    const Real bias = Image(s.m.conv_bias)[row];
    const Real past[3] = {history[0], history[1], history[2]};
    const Real before =
        MulAdd(past[2], taps.v[2], MulAdd(past[1], taps.v[1], MulAdd(past[0], taps.v[0], bias)));
    WaitForX();
    const Real v = up.Product(X(), s.norm_eps);
    const Real activated = FastSilu(warp < 2 ? MulAdd(v, taps.v[3], before) : v);
    if (lane % 4 == 0) {
      (warp < 2 ? own_c : own_g)[row] = activated;
      if (warp < 2) {
        own_a[row] = v;
        history[0] = past[1];
        history[1] = past[2];
        history[2] = v;
      }
    }
  }
  Stamp(2);
  __syncthreads();
  Stamp(3);

  // 2. Gates, by warps 0 and 1, 8 threads each; q and k to the CTAs of the head, by the others,
  // where a thread makes 4 channels of one for one CTA.
  {
    if (warp < 2) {
      const uint32_t gate = t / 8, of = t % 8;
      const Four<Real> weights = LoadFour(Image(s.m.gate) + gate * 32 + 4 * of);
      const Four<Real> v = LoadFour(own_c + 4 * of);
      const Real bias = Image(s.m.gate_bias)[gate];
      Real sum[1] = {MulAdd(weights.v[0], v.v[0], weights.v[1] * v.v[1]) +
                     MulAdd(weights.v[2], v.v[2], MulAdd(weights.v[3], v.v[3], of ? 0 : bias))};
      SumLanes<8>(sum);
      if (of < 4) {
        ex_.Send(kToCell, gate % 4 * 4 + of, s.gates + (gate / 4 * 16 + rank_) * kReal, sum[0]);
      }
    } else if (lane < 16) {
      const bool key = lane & 4;
      const uint32_t chunk = lane % 4 * 4;
      const Four<Real> from = LoadFour(own_c + chunk);
      const float* weights =
          reinterpret_cast<const float*>(Bytes(block_ + s.m.qkv)) + 4 * ((key ? 16 : 0) + chunk);
      Real v[4];
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        const Four<float> w = LoadFour(weights + 4 * j);
        v[j] = MulAdd(Real(w.v[0]), from.v[0], Real(w.v[1]) * from.v[1]) +
               MulAdd(Real(w.v[2]), from.v[2], Real(w.v[3]) * from.v[3]);
        if (key) v[j] *= Real(0.125);  // 1/sqrt(64)
      }
      ex_.Send4(kToCell, rank_ / 4 * 4 + (warp - 2) * 2 + lane / 8,
                s.qk + (key ? s.k_from_q : 0) + (rank_ % 4 * 16 + chunk) * kReal,
                make_float4(v[0], v[1], v[2], v[3]));
    }
  }
  Stamp(4);

  // 3. 16 columns of the head's C, 8 threads each. Loaded ahead, too: the weights of 4, where a
  // warp has two rows of the down projection, and 8 lanes a head.
  const uint32_t column = t / 8, at = 4 * (t % 8);
  Real* c = State(s.ms.c) + column * 64 + at;
  Four<Real> c4[2] = {LoadFour(c), LoadFour(c + 32)};
  const Real* n = State(s.ms.n + parity_ * s.ms.n_parity) + at;
  const Four<Real> n4[2] = {LoadFour(n), LoadFour(n + 32)};
  const Real own_n = State(s.ms.n + parity_ * s.ms.n_parity)[t % 64];
  const Real m = *State(s.ms.m + parity_ * s.ms.m_parity);
  Real v;
  {
    Real dots[4] = {};
    AddProducts(
        LoadFour(reinterpret_cast<const float*>(Bytes(block_ + s.m.qkv)) + 4 * (32 + column)),
        LoadFour(own_a + column / 4 * 4), dots);
    v = Total(dots);
  }
  const uint32_t head = lane / 8 * 64, col = head + at, row = 2 * warp;
  const Real x = X()[row_ + row + lane / 16];
  typename Packed<W>::Word w[2][2];
#pragma unroll
  for (int r = 0; r < 2; ++r) {
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      w[r][i] = LoadPacked<W>(Bytes(block_ + s.m.down), (row + r) * 256 + col + 32 * i);
    }
  }
  Real scale = 1;
  if constexpr (W::kScaled) scale = Image(s.m.down_scale)[row + lane / 16];

  AfterX();
  // g1 and g2, behind what is awaited first.
  {
    const uint32_t chunk = t % 4 * 4;
    const bool second = t & 4;
    Four<Real> g = LoadFour(own_g + chunk);
    const Four<Real> by = LoadFour(Image(second ? s.m.skip : s.m.head_norm) + chunk);
    const Four<Real> conv = LoadFour(own_c + chunk);
#pragma unroll
    for (int j = 0; j < 4; ++j) g.v[j] *= by.v[j] * (second ? conv.v[j] : Real(1));
    ex_.Send4(kToScale, t / 8, (second ? s.g2 : s.g1) + (first_ + chunk) * kReal,
              make_float4(g.v[0], g.v[1], g.v[2], g.v[3]));
  }
  ex_.Await(kToCell);
  Stamp(5);
  const Real input = SumOf16(At(s.gates)), raw_forget = SumOf16(At(s.gates) + 16);
  const Real* q = At(s.qk) + at;
  const Real* k = At(s.qk + s.k_from_q) + at;
  const Four<Real> q4[2] = {LoadFour(q), LoadFour(q + 32)};
  const Four<Real> k4[2] = {LoadFour(k), LoadFour(k + 32)};
  const Real forget = FastLogSigmoid(raw_forget) + m;
  Real sums[3] = {0, 0, 0};
#pragma unroll
  for (int h = 0; h < 2; ++h) {
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      sums[0] = MulAdd(q4[h].v[j], c4[h].v[j], sums[0]);
      sums[1] = MulAdd(q4[h].v[j], n4[h].v[j], sums[1]);
      sums[2] = MulAdd(q4[h].v[j], k4[h].v[j], sums[2]);
    }
  }
  SumLanes<8>(sums);
  // Of F and I one is exp(0).
  const Real m_next = fmax(forget, input);
  const Real smaller = FastExp(-fabs(forget - input)), floor = FastExp(-m_next);
  const Real keep = forget >= input ? Real(1) : smaller;
  const Real add = forget >= input ? smaller : Real(1);
  const Real add_v = add * v;
  {
    const Real dot = MulAdd(keep, sums[1], add * sums[2]);
    const Real h = FastDivide(MulAdd(keep, sums[0], add_v * sums[2]),
                              fmax(fabs(dot), floor) + Real(s.cell_eps));
    ex_.Send(kToDown, t % 8, s.h + (first_ + column) * kReal, h);
    ex_.Send(kToDown, t % 8 + 8, s.h + (first_ + column) * kReal, h);
  }
  Stamp(6);

  // C, while h travels.
  const Real own_k = At(s.qk + s.k_from_q)[t % 64];
#pragma unroll
  for (int i = 0; i < 2; ++i) {
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      c4[i].v[j] = MulAdd(keep, c4[i].v[j], add_v * k4[i].v[j]);
    }
    StoreFour(c + 32 * i, c4[i]);
  }

  // 4. W s with s = headnorm(h) g1 + g2 is, head by head, scale (W g1 (h - shift) - delta W g1) + W
  // g2. While h travels: what does not depend on it.
  ex_.Await(kToScale);
  ex_.Rearm(kToCell, expect_[kToCell]);
  Real by[2][8], known[4] = {};  // W g1 of both rows, W g2 of both
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    const Four<Real> g1 = LoadFour(At(s.g1) + col + 32 * i);
    const Four<Real> g2 = LoadFour(At(s.g2) + col + 32 * i);
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      const Four<float> numbers = Packed<W>::Numbers(w[r][i]);
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        by[r][4 * i + j] = Real(numbers.v[j]) * g1.v[j];
        known[r] += by[r][4 * i + j];
        known[2 + r] = MulAdd(Real(numbers.v[j]), g2.v[j], known[2 + r]);
      }
    }
  }
  SumLanes<8>(known);

  ex_.Await(kToDown);
  Stamp(7);
  {
    const Four<Real> first = LoadFour(At(s.h) + head);
    const Four<Real> h4[2] = {LoadFour(At(s.h) + col), LoadFour(At(s.h) + col + 32)};
    const Real shift = Total(first.v) * Real(0.25);
    Real of_h[4] = {};  // products with both rows, sum, squares
#pragma unroll
    for (int i = 0; i < 2; ++i) {
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        const Real value = h4[i].v[j] - shift;
        of_h[0] = MulAdd(by[0][4 * i + j], value, of_h[0]);
        of_h[1] = MulAdd(by[1][4 * i + j], value, of_h[1]);
        of_h[2] += value;
        of_h[3] = MulAdd(value, value, of_h[3]);
      }
    }
    SumLanes<8>(of_h);
    const NormStats<Real> stats = StatsOf(shift, of_h[2], of_h[3], 64, s.head_eps);
    const Real y =
        SumTwoRows(MulAdd(MulAdd(-stats.delta, known[0], of_h[0]), stats.scale, known[2]),
                   MulAdd(MulAdd(-stats.delta, known[1], of_h[1]), stats.scale, known[3]));
    ex_.Send(kToBlock, lane & 15, s.x + (row_ + row + lane / 16) * kReal,
             W::kScaled ? MulAdd(y, scale, x) : x + y);
    CloseX();
  }

  // The rest of the state, while x travels.
  ex_.Rearm(kToDown, expect_[kToDown]);
  ex_.Rearm(kToScale, expect_[kToScale]);
  if (t < 64) {
    State(s.ms.n + (parity_ ^ 1) * s.ms.n_parity)[t] = MulAdd(keep, own_n, add * own_k);
  }
  if (t == 0) *State(s.ms.m + (parity_ ^ 1) * s.ms.m_parity) = m_next;
  block_ += s.m.bytes;
  state_ += s.ms.bytes;
}

}  // namespace xst::kernels::cuda
