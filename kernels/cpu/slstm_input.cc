#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/slstm_input.cc"
#include "kernels/cpu/targets.h"

#include "hwy/foreach_target.h"

#include "kernels/cpu/lanes-inl.h"
#include "kernels/cpu/panel-inl.h"

HWY_BEFORE_NAMESPACE();
namespace xst::kernels::XST_ARITHMETIC::HWY_NAMESPACE {

template <class W, class X>
HWY_INLINE void Unit(const SlstmInput& o, Real* wx, size_t unit, const X& x) {
  constexpr size_t kVectors = HWY_MIN(kGroup, 4 * kPanelVectors);
  for (size_t part = 0; part < 4 * kPanelVectors; part += kVectors) {
    V sums[kVectors];
    PanelProduct<W>(
        o.w, unit * 4 * kPanelVectors + part,
        [&](size_t i, size_t k) HWY_ATTR { return x(part + i, k); }, sums);
    for (size_t i = 0; i < kVectors; ++i) {
      StoreWhole(sums[i], wx + unit * 4 * kUnit + (part + i) * kLanes);
    }
  }
}

template <class W>
HWY_NOINLINE void RunAs(const SlstmInput& o, Real* frame, Range r) {
  Real* wx = frame + o.wx;
  for (size_t unit = r.begin; unit < r.end; ++unit) {
    const BlockInputs inputs(unit * kUnit, o.channels, o.dim);
    // Gates i and f see the convolution, z and o the plain input.
    const Real* x[4] = {frame + o.conv, frame + o.conv, frame + o.u, frame + o.u};
    if (inputs.uniform()) {
      for (const Real*& p : x) p += inputs.begin();
      Unit<W>(o, wx, unit,
              [&](size_t v, size_t k) HWY_ATTR { return Splat(x[v / kPanelVectors][k]); });
    } else {
      Unit<W>(o, wx, unit, [&](size_t v, size_t k) HWY_ATTR {
        return inputs.Gather(x[v / kPanelVectors], v % kPanelVectors, k);
      });
    }
  }
}

void Run(const SlstmInput& o, Real* frame, Range r) {
  WithWeights(o.w.dtype, [&](auto type) HWY_ATTR { RunAs<decltype(type)>(o, frame, r); });
}

}  // namespace xst::kernels::XST_ARITHMETIC::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
