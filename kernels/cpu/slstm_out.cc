#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/slstm_out.cc"
#include "kernels/cpu/targets.h"

#include "hwy/foreach_target.h"

#include "kernels/cpu/center-inl.h"
#include "kernels/cpu/lanes-inl.h"
#include "kernels/kernels.h"

HWY_BEFORE_NAMESPACE();
namespace xst::kernels::XST_ARITHMETIC::HWY_NAMESPACE {

HWY_INLINE void RunOn(const SlstmOut& o, Real* frame, Real* state, Range r) {
  const auto run = [&](size_t head, const Centering& center) HWY_ATTR {
    const size_t at = head * o.dim;
    const Real* out = frame + o.out + at;
    Real* y = state + o.y + at;
    Real* x = frame + o.x + at;
    ForLanes(0, o.dim, [&](size_t i, auto lanes) HWY_ATTR {
      const V v = lanes.Load(out + i);
      V normed = center(v);
      if (o.weight) {
        normed = hn::Mul(normed, hn::Add(Splat(1.0f), lanes.Load(o.weight + at + i)));
      }
      lanes.Store(v, y + i);
      lanes.Store(hn::Add(lanes.Load(x + i), normed), x + i);
    });
  };
  ForCenteredHeads(frame + o.out, o.dim, o.eps, r, run);
}

void Run(const SlstmOut& o, Real* frame, Range r) { RunOn(o, frame, frame, r); }

void Run(const SlstmOut& o, const Batch<Real>& b, Range r) {
  for (size_t s = 0; s < b.count; ++s) RunOn(o, b.frames[s], b.states[s], r);
}

}  // namespace xst::kernels::XST_ARITHMETIC::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
