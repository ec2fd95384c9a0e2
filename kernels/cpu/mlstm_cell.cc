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

struct HeadGates {
  Real forget, input, floor;  // F, I and exp(-m')
};

// The gates of head h; moves the stabiliser.
HWY_INLINE HeadGates Gates(const MlstmCell& o, const Real* frame, Real* state, size_t h) {
  Real z[2] = {frame[o.gates + h], frame[o.gates + o.heads + h]};
  if (o.gate_cap > 0) {
    const V cap = Splat(o.gate_cap);
    ForLanes(0, 2, [&](size_t i, auto lanes) HWY_ATTR {
      lanes.Store(hn::Mul(cap, Tanh(hn::Div(lanes.Load(z + i), cap))), z + i);
    });
  }
  Real& m = state[o.m + h];
  const Real forget = hn::GetLane(LogSigmoid(Splat(z[1]))) + m;
  m = static_cast<float>(HWY_MAX(forget, z[0]));
  // From the m that is kept: any stabiliser near the maximum is right as long as it is the same.
  Real e[3] = {forget - m, z[0] - m, -m};
  ForLanes(0, 3,
           [&](size_t i, auto lanes) HWY_ATTR { lanes.Store(Exp(lanes.Load(e + i)), e + i); });
  return {e[0], e[1], e[2]};
}

struct Head {
  const Real *q, *k, *v;
  Real *h, *c;
  size_t dk, stride_c;
  V forget, h_scale, h_divisor;
  Real input;  // I, with the scale of k
};

// Columns [begin, begin + kVectors * kLanes) of C, updated and read out in one pass over its rows.
template <size_t kVectors, class Lanes>
HWY_INLINE void Columns(const Head& head, size_t begin, Lanes lanes) {
  V v[kVectors], sums[kVectors];
  HWY_UNROLL(8)
  for (size_t i = 0; i < kVectors; ++i) {
    v[i] = lanes.Load(head.v + begin + i * kLanes);
    sums[i] = hn::Zero(D());
  }
  Real* c = head.c + begin;
  for (size_t row = 0; row < head.dk; ++row, c += head.stride_c) {
    const V k = Splat(head.input * head.k[row]);
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
    const V h = hn::Div(hn::Mul(sums[i], head.h_scale), head.h_divisor);
    lanes.Store(h, head.h + begin + i * kLanes);
  }
}

HWY_INLINE void RunHead(const MlstmCell& o, Real* frame, Real* state, size_t h) {
  const HeadGates gates = Gates(o, frame, state, h);
  const Real scale = 1 / std::sqrt(static_cast<Real>(o.dk));
  const Real input = o.scale_key ? gates.input * scale : gates.input;
  const Real q_scale = o.scale_key ? 1 : scale;
  const Real* q = frame + o.q + h * o.dk;
  const Real* k = frame + o.k + h * o.dk;

  Real* n = state + o.n + h * o.stride_n;
  V dot = hn::Zero(D());
  ForLanes(0, o.dk, [&](size_t i, auto lanes) HWY_ATTR {
    const V next = hn::MulAdd(Splat(input), lanes.Load(k + i),
                              hn::Mul(Splat(gates.forget), lanes.Load(n + i)));
    lanes.Store(next, n + i);
    dot = hn::MulAdd(lanes.Load(q + i), next, dot);
  });
  const Real divisor = HWY_MAX(gates.floor, std::fabs(Sum(dot) * q_scale)) + o.eps;

  const Head head{q,
                  k,
                  frame + o.v + h * o.dv,
                  frame + o.h + h * o.dv,
                  state + o.c + h * o.dk * o.stride_c,
                  o.dk,
                  o.stride_c,
                  Splat(gates.forget),
                  Splat(q_scale),
                  Splat(divisor),
                  input};
  size_t i = 0;
  for (; i + 8 * kLanes <= o.dv; i += 8 * kLanes) Columns<8>(head, i, Full());
  for (; i + 4 * kLanes <= o.dv; i += 4 * kLanes) Columns<4>(head, i, Full());
  ForLanes(i, o.dv, [&](size_t at, auto lanes) HWY_ATTR { Columns<1>(head, at, lanes); });
}

void Run(const MlstmCell& o, Real* frame, Range r) {
  for (size_t h = r.begin; h < r.end; ++h) RunHead(o, frame, frame, h);
}

void Run(const MlstmCell& o, const Batch<Real>& b, Range r) {
  for (size_t s = 0; s < b.count; ++s) {
    for (size_t h = r.begin; h < r.end; ++h) RunHead(o, b.frames[s], b.states[s], h);
  }
}

}  // namespace xst::kernels::XST_ARITHMETIC::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
