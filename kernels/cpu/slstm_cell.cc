#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/slstm_cell.cc"
#include "kernels/cpu/targets.h"

#include "hwy/foreach_target.h"

#include "kernels/cpu/lanes-inl.h"
#include "kernels/cpu/math-inl.h"
#include "kernels/cpu/panel-inl.h"
#include "kernels/cpu/panel_many-inl.h"
#include "kernels/kernels.h"

HWY_BEFORE_NAMESPACE();
namespace xst::kernels::XST_ARITHMETIC::HWY_NAMESPACE {

// raw = (wx + R y) + bias of the rows [row, row + kLanes), from their R y.
HWY_INLINE V RawOf(const SlstmCell& o, const Real* wx, size_t row, V sum) {
  return hn::Add(hn::Add(LoadWhole(wx + row), sum), LoadWhole(o.bias + row));
}

// raw of one unit's 64 rows; x(v, k): input k of row vector v.
template <class W, class X>
HWY_INLINE void Rows(const SlstmCell& o, const Real* wx, size_t unit, const X& x, Real* raw) {
  constexpr size_t kVectors = HWY_MIN(kGroup, 4 * kPanelVectors);
  for (size_t part = 0; part < 4 * kPanelVectors; part += kVectors) {
    V sums[kVectors];
    PanelProduct<W>(
        o.r, unit * 4 * kPanelVectors + part,
        [&](size_t i, size_t k) HWY_ATTR { return x(part + i, k); }, sums);
    for (size_t i = 0; i < kVectors; ++i) {
      const size_t at = (part + i) * kLanes;
      hn::Store(RawOf(o, wx, unit * 4 * kUnit + at, sums[i]), D(), raw + at);
    }
  }
}

template <class W>
HWY_NOINLINE void Raw(const SlstmCell& o, const Real* frame, const Real* state, size_t unit,
                      Real* raw) {
  const Real* wx = frame + o.wx;
  const Real* y = state + o.y;
  const BlockInputs inputs(unit * kUnit, o.channels, o.dim);
  if (inputs.uniform()) {
    const Real* yb = y + inputs.begin();
    Rows<W>(
        o, wx, unit, [&](size_t, size_t k) HWY_ATTR { return Splat(yb[k]); }, raw);
  } else {
    Rows<W>(
        o, wx, unit,
        [&](size_t v, size_t k) HWY_ATTR { return inputs.Gather(y, v % kPanelVectors, k); }, raw);
  }
}

template <class Lanes>
HWY_INLINE void Cell(const SlstmCell& o, Real* frame, Real* state, size_t channel, const Real* raw,
                     Lanes lanes) {
  Real* c = state + o.c + channel;
  const V one = Splat(1.0f);
  const V i = lanes.Load(raw);
  const V f = lanes.Load(raw + kUnit);
  const V z = Tanh(lanes.Load(raw + 2 * kUnit));
  const V out_gate = Sigmoid(lanes.Load(raw + 3 * kUnit));
  V out;
  if (o.lstm) {
    const V next = hn::MulAdd(Sigmoid(f), lanes.Load(c), hn::Mul(Sigmoid(i), z));
    lanes.Store(next, c);
    out = hn::Mul(out_gate, Tanh(next));
  } else {
    Real* n = state + o.n + channel;
    Real* m = state + o.m + channel;
    const V n_old = lanes.Load(n);
    const V lfm = hn::Add(lanes.Load(m), LogSigmoid(AtMost(f, Splat(o.forget_cap))));
    const V m_new = hn::IfThenElse(hn::Eq(n_old, hn::Zero(D())), i, AtLeast(i, lfm));
    const V input = AtMost(Exp(hn::Sub(i, m_new)), one);
    const V forget = AtMost(Exp(hn::Sub(lfm, m_new)), one);
    const V c_new = hn::MulAdd(forget, lanes.Load(c), hn::Mul(input, z));
    const V n_new = hn::MulAdd(forget, n_old, input);
    out = Divide(hn::Mul(out_gate, c_new), n_new);
#ifdef XST_WIDE
    // The m of a snapshot is float; c and n follow it.
    const V m_kept = Rounded(m_new);
    const V rescale = Exp(hn::Sub(m_new, m_kept));
    lanes.Store(hn::Mul(c_new, rescale), c);
    lanes.Store(hn::Mul(n_new, rescale), n);
    lanes.Store(m_kept, m);
#else
    lanes.Store(c_new, c);
    lanes.Store(n_new, n);
    lanes.Store(m_new, m);
#endif
  }
  lanes.Store(out, frame + o.out + channel);
}

HWY_INLINE void Cells(const SlstmCell& o, Real* frame, Real* state, size_t unit, const Real* raw) {
  const size_t begin = unit * kUnit;
  ForLanes(begin, HWY_MIN(begin + kUnit, o.channels), [&](size_t channel, auto lanes) HWY_ATTR {
    Cell(o, frame, state, channel, raw + (channel - begin), lanes);
  });
}

HWY_INLINE void RunUnit(const SlstmCell& o, Real* frame, Real* state, size_t unit) {
  alignas(64) Real raw[4 * kUnit];
  WithWeights(o.r.dtype,
              [&](auto type) HWY_ATTR { Raw<decltype(type)>(o, frame, state, unit, raw); });
  Cells(o, frame, state, unit, raw);
}

void Run(const SlstmCell& o, Real* frame, Range r) {
  for (size_t unit = r.begin; unit < r.end; ++unit) RunUnit(o, frame, frame, unit);
}

// A unit of up to kManyChunk frames whose channels are all in one head, which begins at `begin`.
template <class W>
HWY_NOINLINE void RunManyAs(const SlstmCell& o, const Batch<Real>& b, size_t unit, size_t begin) {
  alignas(64) Real raw[kManyChunk][4 * kUnit];
  const size_t first = unit * 4 * kPanelVectors;
  ForRowVectors(first, first + 4 * kPanelVectors, [&](auto n, size_t v) HWY_ATTR {
    PanelProducts<W, n()>(
        o.r, v, b.count, [&](size_t s) HWY_ATTR { return b.states[s] + o.y + begin; },
        [&](size_t s, const V(&sums)[n()]) HWY_ATTR {
          for (size_t i = 0; i < n(); ++i) {
            const V sum = RawOf(o, b.frames[s] + o.wx, (v + i) * kLanes, sums[i]);
            hn::Store(sum, D(), raw[s] + (v + i - first) * kLanes);
          }
        });
  });
  for (size_t s = 0; s < b.count; ++s) Cells(o, b.frames[s], b.states[s], unit, raw[s]);
}

void Run(const SlstmCell& o, const Batch<Real>& b, Range r) {
  for (size_t unit = r.begin; unit < r.end; ++unit) {
    const BlockInputs inputs(unit * kUnit, o.channels, o.dim);
    if (!inputs.uniform() || b.count == 1) {
      for (size_t s = 0; s < b.count; ++s) RunUnit(o, b.frames[s], b.states[s], unit);
      continue;
    }
    for (size_t s = 0; s < b.count; s += kManyChunk) {
      const Batch<Real> some{b.frames + s, b.states + s, HWY_MIN(kManyChunk, b.count - s)};
      WithWeights(o.r.dtype, [&](auto type) HWY_ATTR {
        RunManyAs<decltype(type)>(o, some, unit, inputs.begin());
      });
    }
  }
}

}  // namespace xst::kernels::XST_ARITHMETIC::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
