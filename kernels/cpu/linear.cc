#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/linear.cc"
#include "kernels/cpu/targets.h"

#include "hwy/foreach_target.h"

#include "kernels/cpu/lanes-inl.h"
#include "kernels/cpu/panel-inl.h"
#include "kernels/cpu/panel_many-inl.h"
#include "kernels/cpu/weights-inl.h"
#include "kernels/kernels.h"

HWY_BEFORE_NAMESPACE();
namespace xst::kernels::XST_ARITHMETIC::HWY_NAMESPACE {

// Stores sums of rows [row, row + kLanes), of which those below o.w.rows exist.
HWY_INLINE void Store(const Linear& o, Real* y, size_t row, V sums) {
  ForLanes(row, HWY_MIN(row + kLanes, o.w.rows), [&](size_t i, auto lanes) HWY_ATTR {
    V v = sums;
    if (o.bias) v = hn::Add(v, lanes.Load(o.bias + i));
    if (o.accumulate) v = hn::Add(lanes.Load(y + i), v);
    lanes.Store(v, y + i);
  });
}

template <class W, size_t kVectors>
HWY_INLINE void Panels(const Linear& o, const Real* x, Real* y, size_t first) {
  V sums[kVectors];
  PanelProduct<W>(
      o.w, first, [x](size_t, size_t k) HWY_ATTR { return Splat(x[k]); }, sums);
  for (size_t i = 0; i < kVectors; ++i) Store(o, y, (first + i) * kLanes, sums[i]);
}

// One row of layout `rows`: four partial sums of every fourth vector, then the rest.
template <class W>
HWY_INLINE Real Row(const Matrix& m, size_t row, const Real* x) {
  const typename W::Element* w = RowOf<W>(m, row);
  const V scale = Splat(W::kScaled ? m.scale[row] : 1.0f);
  V sums[4] = {hn::Zero(D()), hn::Zero(D()), hn::Zero(D()), hn::Zero(D())};
  size_t k = 0;
  for (; k + 4 * kLanes <= m.cols; k += 4 * kLanes) {
    HWY_UNROLL(4)
    for (size_t i = 0; i < 4; ++i) {
      const size_t at = k + i * kLanes;
      sums[i] = hn::MulAdd(Scaled<W>(W::Load(w + at), scale), LoadWhole(x + at), sums[i]);
    }
  }
  ForLanes(k, m.cols, [&](size_t at, auto lanes) HWY_ATTR {
    sums[0] = hn::MulAdd(Scaled<W>(W::Load(w + at), scale), lanes.Load(x + at), sums[0]);
  });
  const Real sum = Sum(hn::Add(hn::Add(sums[0], sums[1]), hn::Add(sums[2], sums[3])));
  return kScaleSum<W> ? sum * m.scale[row] : sum;
}

template <class W>
HWY_NOINLINE void RunAs(const Linear& o, Real* frame, Range r) {
  const Real* x = frame + o.x;
  Real* y = frame + o.y;
  if (o.w.layout == Layout::rows) {
    for (size_t row = r.begin; row < r.end; ++row) {
      Real v = Row<W>(o.w, row, x);
      if (o.bias) v += o.bias[row];
      y[row] = o.accumulate ? y[row] + v : v;
    }
    return;
  }
  const size_t end = r.end * kPanelVectors;
  size_t v = r.begin * kPanelVectors;
  for (; v + kGroup <= end; v += kGroup) Panels<W, kGroup>(o, x, y, v);
  // A thread's share of a small matrix.
  constexpr size_t kHalf = HWY_MAX(kGroup / 2, kPanelVectors);
  for (; v + kHalf <= end; v += kHalf) Panels<W, kHalf>(o, x, y, v);
  for (; v < end; v += kPanelVectors) Panels<W, kPanelVectors>(o, x, y, v);
}

void Run(const Linear& o, Real* frame, Range r) {
  WithWeights(o.w.dtype, [&](auto type) HWY_ATTR { RunAs<decltype(type)>(o, frame, r); });
}

template <class W>
HWY_NOINLINE void RunManyAs(const Linear& o, const Batch<Real>& b, Range r) {
  ForRowVectors(r.begin * kPanelVectors, r.end * kPanelVectors, [&](auto n, size_t v) HWY_ATTR {
    PanelProducts<W, n()>(
        o.w, v, b.count, [&](size_t s) HWY_ATTR { return b.frames[s] + o.x; },
        [&](size_t s, const V(&sums)[n()]) HWY_ATTR {
          for (size_t i = 0; i < n(); ++i) {
            Store(o, b.frames[s] + o.y, (v + i) * kLanes, sums[i]);
          }
        },
        b.ahead);
  });
}

void Run(const Linear& o, const Batch<Real>& b, Range r) {
  if (o.w.layout == Layout::rows || b.count == 1) {
    for (size_t s = 0; s < b.count; ++s) Run(o, b.frames[s], r);
    return;
  }
  WithWeights(o.w.dtype, [&](auto type) HWY_ATTR { RunManyAs<decltype(type)>(o, b, r); });
}

}  // namespace xst::kernels::XST_ARITHMETIC::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
