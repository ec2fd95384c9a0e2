#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/conv.cc"
#include "kernels/cpu/targets.h"

#include "hwy/foreach_target.h"

#include "kernels/cpu/lanes-inl.h"
#include "kernels/cpu/math-inl.h"
#include "kernels/kernels.h"

HWY_BEFORE_NAMESPACE();
namespace xst::kernels::XST_ARITHMETIC::HWY_NAMESPACE {

HWY_INLINE void RunOn(const Conv& o, Real* frame, Real* state, Range r) {
  const Real* x = frame + o.x;
  Real* y = frame + o.y;
  Real* history = state + o.history;
  const size_t past = o.kernel - 1;
  ForLanes(r.begin * kUnit, HWY_MIN(r.end * kUnit, o.channels), [&](size_t i, auto lanes) HWY_ATTR {
    V sum = hn::Zero(D());
    for (size_t j = 0; j < past; ++j) {
      Real* at = history + j * o.stride + i;
      const V s = lanes.Load(at);
      sum = hn::MulAdd(s, lanes.Load(o.weight + j * o.stride + i), sum);
      if (j > 0) lanes.Store(s, at - o.stride);
    }
    const V now = lanes.Load(x + i);
    sum = hn::MulAdd(now, lanes.Load(o.weight + past * o.stride + i), sum);
    if (past > 0) lanes.Store(now, history + (past - 1) * o.stride + i);
    lanes.Store(Silu(hn::Add(sum, lanes.Load(o.bias + i))), y + i);
  });
}

void Run(const Conv& o, Real* frame, Range r) { RunOn(o, frame, frame, r); }

void Run(const Conv& o, const Batch<Real>& b, Range r) {
  for (size_t s = 0; s < b.count; ++s) RunOn(o, b.frames[s], b.states[s], r);
}

}  // namespace xst::kernels::XST_ARITHMETIC::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
