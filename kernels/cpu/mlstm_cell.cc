#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/mlstm_cell.cc"
#include "kernels/cpu/targets.h"

#include "hwy/foreach_target.h"

#include <cmath>

#include "kernels/cpu/lanes-inl.h"
#include "kernels/cpu/math-inl.h"
#include "kernels/kernels.h"

HWY_BEFORE_NAMESPACE();
namespace xst::kernels::XST_ARITHMETIC::HWY_NAMESPACE {

// The gates of up to kUnit heads: F, I and exp(-m').
struct HeadGates {
  Real forget[kUnit], input[kUnit], floor[kUnit];
};

// Of heads [begin, end); moves their stabilisers.
HWY_INLINE void Gates(const MlstmCell& o, const Real* frame, Real* state, size_t begin, size_t end,
                      HeadGates* gates) {
  const V cap = Splat(o.gate_cap);
  ForLanes(begin, end, [&](size_t h, auto lanes) HWY_ATTR {
    V i = lanes.Load(frame + o.gates + h);
    V f = lanes.Load(frame + o.gates + o.heads + h);
    if (o.gate_cap > 0) {
      i = hn::Mul(cap, Tanh(Divide(i, cap)));
      f = hn::Mul(cap, Tanh(Divide(f, cap)));
    }
    Real* at = state + o.m + h;
    const V forget = hn::Add(LogSigmoid(f), lanes.Load(at));
    // What is kept is float: any stabiliser near the maximum is right as long as it is the same.
    const V m = Rounded(AtLeast(forget, i));
    lanes.Store(m, at);
    hn::StoreU(Exp(hn::Sub(forget, m)), D(), gates->forget + (h - begin));
    hn::StoreU(Exp(hn::Sub(i, m)), D(), gates->input + (h - begin));
    hn::StoreU(Exp(hn::Neg(m)), D(), gates->floor + (h - begin));
  });
}

struct Head {
  const Real *q, *k, *v;
  Real *h, *c;
  size_t dk, stride_c;
  V forget, input, h_scale, h_divisor;  // F; I with the scale of k
};

// Columns [begin, begin + kVectors * kLanes) of C, updated and read out in one pass over its rows.
template <size_t kVectors, class Lanes>
HWY_INLINE void Columns(const Head& head, size_t begin, Lanes lanes) {
  V v[kVectors], sums[kVectors];
  HWY_UNROLL(8)
  for (size_t i = 0; i < kVectors; ++i) {
    v[i] = hn::Mul(head.input, lanes.Load(head.v + begin + i * kLanes));
    sums[i] = hn::Zero(D());
  }
  Real* c = head.c + begin;
  for (size_t row = 0; row < head.dk; ++row, c += head.stride_c) {
    const V k = Splat(head.k[row]);
    const V q = Splat(head.q[row]);
    HWY_UNROLL(8)
    for (size_t i = 0; i < kVectors; ++i) {
      Real* at = c + i * kLanes;
      const V next = hn::MulAdd(k, v[i], hn::Mul(head.forget, lanes.Load(at)));
      lanes.Store(next, at);
      sums[i] = hn::MulAdd(q, next, sums[i]);
    }
  }
  HWY_UNROLL(8)
  for (size_t i = 0; i < kVectors; ++i) {
    const V h = Divide(hn::Mul(sums[i], head.h_scale), head.h_divisor);
    lanes.Store(h, head.h + begin + i * kLanes);
  }
}

// Head h; `at`: its place in `gates`.
HWY_INLINE void RunHead(const MlstmCell& o, Real* frame, Real* state, size_t h,
                        const HeadGates& gates, size_t at, Real scale) {
  const V forget = Splat(gates.forget[at]);
  const V input = Splat(o.scale_key ? gates.input[at] * scale : gates.input[at]);
  const Real q_scale = o.scale_key ? 1 : scale;
  const Real* q = frame + o.q + h * o.dk;
  const Real* k = frame + o.k + h * o.dk;

  Real* n = state + o.n + h * o.stride_n;
  V dot = hn::Zero(D());
  ForLanes(0, o.dk, [&](size_t i, auto lanes) HWY_ATTR {
    const V next = hn::MulAdd(input, lanes.Load(k + i), hn::Mul(forget, lanes.Load(n + i)));
    lanes.Store(next, n + i);
    dot = hn::MulAdd(lanes.Load(q + i), next, dot);
  });
  const Real divisor = HWY_MAX(gates.floor[at], std::fabs(Sum(dot) * q_scale)) + o.eps;

  const Head head{q,
                  k,
                  frame + o.v + h * o.dv,
                  frame + o.h + h * o.dv,
                  state + o.c + h * o.dk * o.stride_c,
                  o.dk,
                  o.stride_c,
                  forget,
                  input,
                  Splat(q_scale),
                  Splat(divisor)};
  size_t i = 0;
  for (; i + 8 * kLanes <= o.dv; i += 8 * kLanes) Columns<8>(head, i, Full());
  for (; i + 4 * kLanes <= o.dv; i += 4 * kLanes) Columns<4>(head, i, Full());
  ForLanes(i, o.dv, [&](size_t c, auto lanes) HWY_ATTR { Columns<1>(head, c, lanes); });
}

HWY_INLINE void RunOn(const MlstmCell& o, Real* frame, Real* state, Range r) {
  const Real scale = 1 / std::sqrt(static_cast<Real>(o.dk));
  for (size_t begin = r.begin; begin < r.end; begin += kUnit) {
    const size_t end = HWY_MIN(begin + kUnit, r.end);
    HeadGates gates;
    Gates(o, frame, state, begin, end, &gates);
    for (size_t h = begin; h < end; ++h) RunHead(o, frame, state, h, gates, h - begin, scale);
  }
}

void Run(const MlstmCell& o, Real* frame, Range r) { RunOn(o, frame, frame, r); }

void Run(const MlstmCell& o, const Batch<Real>& b, Range r) {
  for (size_t s = 0; s < b.count; ++s) RunOn(o, b.frames[s], b.states[s], r);
}

}  // namespace xst::kernels::XST_ARITHMETIC::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
