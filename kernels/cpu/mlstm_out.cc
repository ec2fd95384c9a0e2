#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/mlstm_out.cc"
#include "kernels/cpu/targets.h"

#include "hwy/foreach_target.h"

#include "kernels/cpu/center-inl.h"
#include "kernels/cpu/lanes-inl.h"
#include "kernels/cpu/math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace xst::kernels::XST_ARITHMETIC::HWY_NAMESPACE {

template <class Gate>
HWY_INLINE void Heads(const MlstmOut& o, Real* frame, Range r, const Gate& gate) {
  const V offset = Splat(o.weight_offset);
  const auto run = [&](size_t head, const Centering& center) HWY_ATTR {
    const size_t at = head * o.dim;
    const Real* h = frame + o.h + at;
    const Real* c = frame + o.c + at;
    const Real* z = frame + o.z + at;
    const float* weight = o.weight + at;
    const float* bias = o.bias ? o.bias + at : nullptr;
    const float* skip = o.skip ? o.skip + at : nullptr;
    Real* y = frame + o.y + at;
    ForLanes(0, o.dim, [&](size_t i, auto lanes) HWY_ATTR {
      V s = hn::Mul(center(lanes.Load(h + i)), hn::Add(offset, lanes.Load(weight + i)));
      if (bias) s = hn::Add(s, lanes.Load(bias + i));
      if (skip) s = hn::MulAdd(lanes.Load(skip + i), lanes.Load(c + i), s);
      lanes.Store(hn::Mul(s, gate(lanes.Load(z + i))), y + i);
    });
  };
  ForCenteredHeads(frame + o.h, o.dim, o.eps, r, run);
}

void Run(const MlstmOut& o, Real* frame, Range r) {
  if (o.sigmoid) {
    Heads(o, frame, r, [](V z) HWY_ATTR { return Sigmoid(z); });
  } else {
    Heads(o, frame, r, [](V z) HWY_ATTR { return Silu(z); });
  }
}

}  // namespace xst::kernels::XST_ARITHMETIC::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
