#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/block_linear.cc"
#include "kernels/cpu/targets.h"

#include "hwy/foreach_target.h"

#include "kernels/cpu/lanes-inl.h"
#include "kernels/cpu/panel-inl.h"
#include "kernels/cpu/panel_many-inl.h"
#include "kernels/kernels.h"

HWY_BEFORE_NAMESPACE();
namespace xst::kernels::XST_ARITHMETIC::HWY_NAMESPACE {

// Stores sums of rows [row, row + kLanes), of which those below o.w.rows exist.
HWY_INLINE void Store(const BlockLinear& o, Real* y, size_t row, V sum) {
  ForLanes(row, HWY_MIN(row + kLanes, o.w.rows), [&](size_t at, auto lanes) HWY_ATTR {
    lanes.Store(o.bias ? hn::Add(sum, lanes.Load(o.bias + at)) : sum, y + at);
  });
}

template <class W, class X>
HWY_INLINE void Panel(const BlockLinear& o, Real* y, size_t unit, const X& x) {
  constexpr size_t kVectors = HWY_MIN(kGroup, kPanelVectors);
  for (size_t part = 0; part < kPanelVectors; part += kVectors) {
    V sums[kVectors];
    PanelProduct<W>(
        o.w, unit * kPanelVectors + part,
        [&](size_t i, size_t k) HWY_ATTR { return x(part + i, k); }, sums);
    for (size_t i = 0; i < kVectors; ++i) {
      Store(o, y, unit * kUnit + (part + i) * kLanes, sums[i]);
    }
  }
}

#if HWY_TARGET != HWY_SCALAR && !defined(XST_WIDE)
// Blocks of 4 rows of f32, one for each 128 bits of a vector.
HWY_INLINE void Blocks4(const BlockLinear& o, const Real* x, Real* y, Range r) {
  const float* w = static_cast<const float*>(o.w.data) + r.begin * kUnit * 4;
  const size_t end = HWY_MIN(r.end * kUnit, o.w.rows);
  for (size_t row = r.begin * kUnit; row < end; row += kUnit, w += kUnit * 4) {
    ForLanes(row, HWY_MIN(row + kUnit, end), [&](size_t i, auto lanes) HWY_ATTR {
      const float* wi = w + (i - row);
      const V xi = lanes.Load(x + i);
      V sum = hn::Mul(hn::Load(D(), wi), hn::Broadcast<0>(xi));
      sum = hn::MulAdd(hn::Load(D(), wi + kUnit), hn::Broadcast<1>(xi), sum);
      sum = hn::MulAdd(hn::Load(D(), wi + 2 * kUnit), hn::Broadcast<2>(xi), sum);
      sum = hn::MulAdd(hn::Load(D(), wi + 3 * kUnit), hn::Broadcast<3>(xi), sum);
      if (o.bias) sum = hn::Add(sum, lanes.Load(o.bias + i));
      lanes.Store(sum, y + i);
    });
  }
}
#endif

template <class W>
HWY_NOINLINE void RunAs(const BlockLinear& o, Real* frame, Range r) {
  const Real* x = frame + o.x;
  Real* y = frame + o.y;
  for (size_t unit = r.begin; unit < r.end; ++unit) {
    const BlockInputs inputs(unit * kUnit, o.w.rows, o.w.cols);
    if (inputs.uniform()) {
      const Real* xb = x + inputs.begin();
      Panel<W>(o, y, unit, [&](size_t, size_t k) HWY_ATTR { return Splat(xb[k]); });
    } else {
      Panel<W>(o, y, unit, [&](size_t v, size_t k) HWY_ATTR { return inputs.Gather(x, v, k); });
    }
  }
}

void Run(const BlockLinear& o, Real* frame, Range r) {
#if HWY_TARGET != HWY_SCALAR && !defined(XST_WIDE)
  if (o.w.cols == 4 && o.w.dtype == DType::f32) {
    return Blocks4(o, frame + o.x, frame + o.y, r);
  }
#endif
  WithWeights(o.w.dtype, [&](auto type) HWY_ATTR { RunAs<decltype(type)>(o, frame, r); });
}

// Units whose rows are all in one block.
template <class W>
HWY_NOINLINE void RunManyAs(const BlockLinear& o, const Batch<Real>& b, Range r, size_t begin) {
  ForRowVectors(r.begin * kPanelVectors, r.end * kPanelVectors, [&](auto n, size_t v) HWY_ATTR {
    PanelProducts<W, n()>(
        o.w, v, b.count, [&](size_t s) HWY_ATTR { return b.frames[s] + o.x + begin; },
        [&](size_t s, const V(&sums)[n()]) HWY_ATTR {
          for (size_t i = 0; i < n(); ++i) Store(o, b.frames[s] + o.y, (v + i) * kLanes, sums[i]);
        });
  });
}

void Run(const BlockLinear& o, const Batch<Real>& b, Range r) {
  // Small blocks are few weights, and several of them meet in a unit.
  if (o.w.cols < kUnit || b.count == 1) {
    for (size_t s = 0; s < b.count; ++s) Run(o, b.frames[s], r);
    return;
  }
  for (uint32_t unit = r.begin; unit < r.end;) {
    const BlockInputs inputs(unit * kUnit, o.w.rows, o.w.cols);
    Range same{unit, unit + 1};
    if (!inputs.uniform()) {
      for (size_t s = 0; s < b.count; ++s) Run(o, b.frames[s], same);
    } else {
      const size_t block_end = HWY_MIN(inputs.begin() + o.w.cols, o.w.rows);
      while (same.end < r.end && HWY_MIN((same.end + 1) * kUnit, o.w.rows) <= block_end) {
        ++same.end;
      }
      WithWeights(o.w.dtype, [&](auto type) HWY_ATTR {
        RunManyAs<decltype(type)>(o, b, same, inputs.begin());
      });
    }
    unit = same.end;
  }
}

}  // namespace xst::kernels::XST_ARITHMETIC::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
