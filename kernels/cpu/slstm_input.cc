#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/slstm_input.cc"
#include "kernels/cpu/targets.h"

#include "hwy/foreach_target.h"

#include "kernels/cpu/lanes-inl.h"
#include "kernels/cpu/panel-inl.h"
#include "kernels/cpu/panel_many-inl.h"
#include "kernels/kernels.h"

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

// A unit whose channels are all in one head, whose inputs begin at `begin`.
template <class W>
HWY_NOINLINE void RunManyAs(const SlstmInput& o, const Batch<Real>& b, size_t unit, size_t begin) {
  constexpr size_t kHalf = 2 * kPanelVectors;  // the gates of one input
  for (size_t half = 0; half < 2; ++half) {
    const size_t first = unit * 4 * kPanelVectors + half * kHalf;
    const Slot input = half == 0 ? o.conv : o.u;
    ForRowVectors(first, first + kHalf, [&](auto n, size_t v) HWY_ATTR {
      PanelProducts<W, n()>(
          o.w, v, b.count, [&](size_t s) HWY_ATTR { return b.frames[s] + input + begin; },
          [&](size_t s, const V(&sums)[n()]) HWY_ATTR {
            Real* wx = b.frames[s] + o.wx + v * kLanes;
            for (size_t i = 0; i < n(); ++i) StoreWhole(sums[i], wx + i * kLanes);
          });
    });
  }
}

void Run(const SlstmInput& o, const Batch<Real>& b, Range r) {
  for (uint32_t unit = r.begin; unit < r.end; ++unit) {
    const BlockInputs inputs(unit * kUnit, o.channels, o.dim);
    if (!inputs.uniform() || b.count == 1) {
      for (size_t s = 0; s < b.count; ++s) Run(o, b.frames[s], {unit, unit + 1});
    } else {
      WithWeights(o.w.dtype, [&](auto type) HWY_ATTR {
        RunManyAs<decltype(type)>(o, b, unit, inputs.begin());
      });
    }
  }
}

}  // namespace xst::kernels::XST_ARITHMETIC::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
