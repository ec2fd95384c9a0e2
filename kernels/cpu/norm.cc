#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/norm.cc"
#include "kernels/cpu/targets.h"

#include "hwy/foreach_target.h"

#include "kernels/cpu/center-inl.h"
#include "kernels/cpu/lanes-inl.h"

HWY_BEFORE_NAMESPACE();
namespace xst::kernels::XST_ARITHMETIC::HWY_NAMESPACE {

void Run(const Norm& o, Real* frame, Range) {
  const Real* x = frame + o.x;
  Real* y = frame + o.y;
  Centering center;
  if (o.center) {
    center = Center(x, o.size, o.eps);
  } else {
    const Real square = SumOf(x, o.size, [](V v) HWY_ATTR { return hn::Mul(v, v); });
    center = {0, 0, Real{1} / std::sqrt(square / static_cast<Real>(o.size) + o.eps)};
  }
  const V offset = Splat(o.weight_offset);
  ForLanes(0, o.size, [&](size_t i, auto lanes) HWY_ATTR {
    V v = center(lanes.Load(x + i));
    if (o.weight) v = hn::Mul(v, hn::Add(lanes.Load(o.weight + i), offset));
    if (o.bias) v = hn::Add(v, lanes.Load(o.bias + i));
    lanes.Store(v, y + i);
  });
}

}  // namespace xst::kernels::XST_ARITHMETIC::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
