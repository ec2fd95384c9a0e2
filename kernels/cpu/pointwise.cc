#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/pointwise.cc"
#include "kernels/cpu/targets.h"

#include "hwy/foreach_target.h"

#include "kernels/cpu/lanes-inl.h"
#include "kernels/cpu/math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace xst::kernels::XST_ARITHMETIC::HWY_NAMESPACE {

template <class F>
HWY_INLINE void Apply(const Pointwise& o, Real* frame, Range r, const F& f) {
  const Real* x = frame + o.x;
  Real* y = frame + o.y;
  ForLanes(r.begin * kUnit, HWY_MIN(r.end * kUnit, o.size),
           [&](size_t i, auto lanes) HWY_ATTR { lanes.Store(f(lanes.Load(x + i)), y + i); });
}

void Run(const Pointwise& o, Real* frame, Range r) {
  switch (o.kind) {
    case PointwiseKind::relu:
      return Apply(o, frame, r, [](V x) HWY_ATTR { return AtLeast(x, hn::Zero(D())); });
    case PointwiseKind::soft_cap: {
      const V cap = Splat(o.cap);
      return Apply(o, frame, r, [cap](V x) HWY_ATTR { return hn::Mul(cap, Tanh(Divide(x, cap))); });
    }
  }
}

}  // namespace xst::kernels::XST_ARITHMETIC::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
