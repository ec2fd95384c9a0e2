// An mLSTM block, three exchanges: the cell's inputs, the down projection's, the residual stream.
#pragma once

#include "kernels/cuda/on_chip_cta.cuh"

namespace xst::kernels::cuda {

template <class Real, class W, class E, class P>
__device__ __forceinline__ void Cta<Real, W, E, P>::Mlstm() {
  if constexpr (P::kFixed) {
    MlstmFixed();
    return;
  }
  MlstmProject();
  MlstmSpread();
  MlstmMemory();
  MlstmDown();
  block_ += S().m.bytes;
  state_ += S().ms.bytes;
}

// Own rows of a and z; c = silu(conv(a)), silu(z).
template <class Real, class W, class E, class P>
__device__ __forceinline__ void Cta<Real, W, E, P>::MlstmProject() {
  const auto& s = S();
  const ImageMatrix<Real> up = {
      Bytes(block_ + s.m.up), Image(s.m.up_scale), ImageIf(s.up_bias, s.m.up_bias),
      Image(s.m.up_sum),      Image(s.m.norm),     s.norm_eps};
  Real* c = At(s.own_c);
  Real* a = At(s.own_a);
  Real* g = At(s.own_g);
  WaitForX();
  NormedRows<W>(up, X(), s.width, count_ ? 2 * s.own : 0, [&](uint32_t row, Real v, uint32_t lane) {
    if (lane != 0) return;
    if (row >= s.own) {
      if (row - s.own < count_) g[row - s.own] = FastSilu(v);
    } else if (row < count_) {
      a[row] = v;
      c[row] = s.kernel ? Convolve(State(s.ms.history) + row * (s.kernel - 1),
                                   Image(s.m.conv) + row * s.kernel, s.kernel,
                                   Image(s.m.conv_bias)[row], v)
                        : v;
    }
  });
  Stamp(2);
  __syncthreads();
  Stamp(3);
}

// q, k to the CTAs of their head, partial gate sums to those of the gate's head, to everyone what
// finishes s = headnorm(h) g1 + g2.
template <class Real, class W, class E, class P>
__device__ __forceinline__ void Cta<Real, W, E, P>::MlstmSpread() {
  const auto& s = S();
  constexpr uint32_t kReal = sizeof(Real);
  const Real* c = At(s.own_c);
  const Real* a = At(s.own_a);
  const Real* g = At(s.own_g);
  const uint32_t dim4 = OnChipShape::Pad4(s.dim), block4 = OnChipShape::Pad4(s.block);
  const Real key_scale = InverseRoot(Real(s.dim));

  for (uint32_t t = threadIdx.x; t < 3 * count_; t += kThreads) {
    const uint32_t which = t / count_, i = t % count_;
    const float* w =
        reinterpret_cast<const float*>(Bytes(block_ + s.m.qkv)) + (which * s.own + i) * block4;
    const Real* from = (which == 2 ? a : c) + i / s.block * s.block;
    Real v = 0;
    for (uint32_t j = 0; j < s.block; ++j) v = MulAdd(Real(w[j]), from[j], v);
    if (s.qkv_bias) v += Image(s.m.qkv_bias)[which * s.own + i];
    if (which == 2) {
      ex_.Send(kToCell, rank_, s.own_v + i * kReal, v);
      continue;
    }
    if (which == 1) v *= key_scale;
    const uint32_t head = (first_ + i) / s.dim, at = (first_ + i) % s.dim;
    const uint32_t last = OwnerOf(head * s.dim + s.dim - 1);
    for (uint32_t p = OwnerOf(head * s.dim); p <= last; ++p) {
      const uint32_t local = head - s.HeadBegin(s.First(p, s.own, s.inner), s.dim);
      ex_.Send(kToCell, p, s.qk + which * s.k_from_q + (local * dim4 + at) * kReal, v);
    }
  }

  // The last warps first: the others have the above to do.
  const uint32_t lane = threadIdx.x & 7, gates = 2 * s.heads;
  const uint32_t group = (threadIdx.x / 8 + gates) % (kThreads / 8);
  const uint32_t columns = OnChipShape::Pad4(2 * s.own);
  for (uint32_t base = 0; base < gates; base += kThreads / 8) {
    const bool busy = base + group < gates;
    if (!__any_sync(0xffffffffu, busy)) continue;
    const uint32_t gate = busy ? base + group : 0;
    const Real* w = Image(s.m.gate) + size_t{gate} * columns;
    Real dots[4] = {};
    for (uint32_t col = 4 * lane; col < columns; col += 32) {
      const Four<Real> row = LoadFour(w + col), v = LoadFour(c + col);
#pragma unroll
      for (int i = 0; i < 4; ++i) dots[i] = MulAdd(row.v[i], v.v[i], dots[i]);
    }
    Real v[1] = {Total(dots)};
    SumLanes<8>(v);
    v[0] += Image(s.m.gate_bias)[gate];
    if (!busy) continue;
    const uint32_t head = gate % s.heads, kind = gate / s.heads;
    const uint32_t last = OwnerOf(head * s.dim + s.dim - 1);
    for (uint32_t p = OwnerOf(head * s.dim) + lane; p <= last; p += 8) {
      const uint32_t local = head - s.HeadBegin(s.First(p, s.own, s.inner), s.dim);
      ex_.Send(kToCell, p,
               s.gates + ((kind * s.own_heads + local) * OnChipShape::Pad4(s.ctas) + rank_) * kReal,
               v[0]);
    }
  }

  const Real* head_norm = Image(s.m.head_norm);
  const Real* skip = Image(s.m.skip);
  for (uint32_t t = threadIdx.x; t < count_ * s.ctas; t += kThreads) {
    const uint32_t i = t % count_, p = t / count_;
    ex_.Send(kToDown, p, s.g1 + (first_ + i) * kReal, head_norm[i] * g[i]);
    ex_.Send(kToDown, p, s.g2 + (first_ + i) * kReal, skip[i] * c[i] * g[i]);
  }
  ex_.Close(kToCell);
  Stamp(4);
}

// Own columns of C: 16 threads each, which keep C transposed, [column][dk]. The read-out
// q^T (F C + I k v^T) = F q^T C + I (q.k) v does not wait for F and I, nor for the new C.
template <class Real, class W, class E, class P>
__device__ __forceinline__ void Cta<Real, W, E, P>::MlstmMemory() {
  const auto& s = S();
  constexpr uint32_t kReal = sizeof(Real);
  const uint32_t lane = threadIdx.x & 15, group = threadIdx.x / 16;
  const uint32_t dim4 = OnChipShape::Pad4(s.dim), ctas4 = OnChipShape::Pad4(s.ctas);
  const uint32_t other = parity_ ^ 1;
  const Real* n = State(s.ms.n + parity_ * s.ms.n_parity);
  Real* n_new = State(s.ms.n + other * s.ms.n_parity);
  const Real* m = State(s.ms.m + parity_ * s.ms.m_parity);
  Real* m_new = State(s.ms.m + other * s.ms.m_parity);

  ex_.Wait(kToCell, s.qk, s.own_v + s.own * kReal - s.qk, expect_[kToCell]);

  uint32_t known = ~0u;
  Real keep = 0, add = 0, floor = 0, m_next = 0;
  const uint32_t warp_column = threadIdx.x / 32 * 2;
  for (uint32_t base = 0; base + warp_column < count_; base += kThreads / 16) {
    const bool busy = base + group < count_;
    const uint32_t column = busy ? base + group : count_ - 1;
    const uint32_t channel = first_ + column, head = channel / s.dim - head_begin_;
    Real* c = State(s.ms.c) + size_t{column} * dim4;
    const Real* q = At(s.qk) + head * dim4;
    const Real* k = At(s.qk + s.k_from_q) + head * dim4;
    const Real v = At(s.own_v)[column];

    Real sums[3] = {0, 0, 0};
#pragma unroll 1
    for (uint32_t i = 4 * lane; i < dim4; i += 64) {
      const Four<Real> q4 = LoadFour(q + i), k4 = LoadFour(k + i), c4 = LoadFour(c + i),
                       n4 = LoadFour(n + head * dim4 + i);
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        sums[0] = MulAdd(q4.v[j], c4.v[j], sums[0]);
        sums[1] = MulAdd(q4.v[j], n4.v[j], sums[1]);
        sums[2] = MulAdd(q4.v[j], k4.v[j], sums[2]);
      }
    }
    if (head != known) {
      known = head;
      Real gate[2];
#pragma unroll
      for (uint32_t kind = 0; kind < 2; ++kind) {
        const Real* parts = At(s.gates) + (kind * s.own_heads + head) * ctas4;
        Real sum[4] = {};
#pragma unroll 4
        for (uint32_t p = 0; p < ctas4; p += 4) {
          const Four<Real> part = LoadFour(parts + p);
#pragma unroll
          for (int j = 0; j < 4; ++j) sum[j] += part.v[j];
        }
        gate[kind] = Total(sum);
      }
      const Real forget = LogSigmoid(gate[1]) + m[head];
      m_next = fmax(forget, gate[0]);
      keep = exp(forget - m_next);
      add = exp(gate[0] - m_next);
      floor = exp(-m_next);
    }
    SumLanes<16>(sums);
    const Real dot = MulAdd(keep, sums[1], add * sums[2]);
    const Real h = FastDivide(MulAdd(keep, sums[0], add * sums[2] * v),
                              fmax(fabs(dot), floor) + Real(s.cell_eps));
    if (busy) {
      for (uint32_t p = lane; p < s.ctas; p += 16) {
        ex_.Send(kToDown, p, s.h + channel * kReal, h);
      }
      const Real add_v = add * v;
      const bool first = column == 0 || channel % s.dim == 0;
      for (uint32_t i = 4 * lane; i < dim4; i += 64) {
        const Four<Real> k4 = LoadFour(k + i);
        Four<Real> c4 = LoadFour(c + i);
#pragma unroll
        for (int j = 0; j < 4; ++j) c4.v[j] = Rounded(MulAdd(keep, c4.v[j], add_v * k4.v[j]));
        StoreFour(c + i, c4);
        if (first) {
          Four<Real> n4 = LoadFour(n + head * dim4 + i);
#pragma unroll
          for (int j = 0; j < 4; ++j) n4.v[j] = Rounded(MulAdd(keep, n4.v[j], add * k4.v[j]));
          StoreFour(n_new + head * dim4 + i, n4);
        }
      }
      if (first && lane == 0) m_new[head] = Rounded(m_next);
    }
  }
  ex_.Close(kToDown);
}

template <class Real, class W, class E, class P>
__device__ __forceinline__ void Cta<Real, W, E, P>::MlstmDown() {
  const auto& s = S();
  constexpr uint32_t kReal = sizeof(Real);
  const ImageMatrix<Real> down = {Bytes(block_ + s.m.down),
                                  Image(s.m.down_scale),
                                  ImageIf(s.down_bias, s.m.down_bias),
                                  nullptr,
                                  nullptr,
                                  0};
  Real* h = At(s.h);
  ex_.Wait(kToDown, s.g1, s.h - s.g1 + OnChipShape::Pad4(s.inner) * kReal, expect_[kToDown]);
  const uint32_t lane = threadIdx.x & 31;
  for (uint32_t head = threadIdx.x / 32; head < s.heads; head += kThreads / 32) {
    const Real* of = h + head * s.dim;
    const Real shift = of[0];
    Real mean[1] = {0};
    for (uint32_t i = lane; i < s.dim; i += 32) mean[0] += of[i] - shift;
    SumLanes<32>(mean);
    mean[0] = mean[0] / Real(s.dim);
    Real square[1] = {0};
    for (uint32_t i = lane; i < s.dim; i += 32) {
      const Real v = of[i] - shift - mean[0];
      square[0] = MulAdd(v, v, square[0]);
    }
    SumLanes<32>(square);
    const Real scale = InverseRoot(square[0] / Real(s.dim) + Real(s.head_eps));
    __syncwarp();
    for (uint32_t i = lane; i < s.dim; i += 32) {
      const uint32_t channel = head * s.dim + i;
      const Real hn = (h[channel] - shift - mean[0]) * scale;
      h[channel] = MulAdd(hn, At(s.g1)[channel], At(s.g2)[channel]);
    }
    // The next reads of[0] must not see it changed.
    __syncwarp();
  }
  __syncthreads();
  const Real* x = X();
  Rows<W, 32>(down, h, s.inner, rows_, [&](uint32_t i, Real v, uint32_t of) {
    if (i < rows_) SendRow<32>(i, x[row_ + i] + v, of);
  });
  CloseX();
}

}  // namespace xst::kernels::cuda
