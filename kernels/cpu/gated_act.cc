#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/gated_act.cc"
#include "kernels/cpu/targets.h"

#include "hwy/foreach_target.h"

#include "kernels/cpu/lanes-inl.h"
#include "kernels/cpu/math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace xst::kernels::XST_ARITHMETIC::HWY_NAMESPACE {

struct Gelu {
  HWY_INLINE V operator()(V a) const {
    const V erf = Erf(hn::Mul(a, Splat(0.70710678118654752)));
    return hn::Mul(hn::Mul(Splat(0.5f), a), hn::Add(Splat(1.0f), erf));
  }
};
struct Relu {
  HWY_INLINE V operator()(V a) const { return AtLeast(a, hn::Zero(D())); }
};
struct Relu2 {
  HWY_INLINE V operator()(V a) const {
    const V r = AtLeast(a, hn::Zero(D()));
    return hn::Mul(r, r);
  }
};
struct Logistic {
  HWY_INLINE V operator()(V a) const { return Sigmoid(a); }
};
struct Swish {
  HWY_INLINE V operator()(V a) const { return Silu(a); }
};
struct Selu {
  HWY_INLINE V operator()(V a) const {
    const V zero = hn::Zero(D());
    const V negative = hn::Mul(Splat(1.6732632423543772), Expm1NonPositive(AtMost(a, zero)));
    return hn::Mul(Splat(1.0507009873554805), hn::IfThenElse(hn::Gt(a, zero), a, negative));
  }
};

template <class Act>
HWY_INLINE void Apply(const GatedAct& o, Real* frame, Range r, Act act) {
  const Real* gate = frame + o.gate;
  const Real* linear = frame + o.linear;
  Real* y = frame + o.y;
  ForLanes(r.begin * kUnit, HWY_MIN(r.end * kUnit, o.size), [&](size_t i, auto lanes) HWY_ATTR {
    lanes.Store(hn::Mul(act(lanes.Load(gate + i)), lanes.Load(linear + i)), y + i);
  });
}

void Run(const GatedAct& o, Real* frame, Range r) {
  switch (o.act) {
    case Activation::gelu:
      return Apply(o, frame, r, Gelu());
    case Activation::relu:
      return Apply(o, frame, r, Relu());
    case Activation::relu2:
      return Apply(o, frame, r, Relu2());
    case Activation::sigmoid:
      return Apply(o, frame, r, Logistic());
    case Activation::swish:
      return Apply(o, frame, r, Swish());
    case Activation::selu:
      return Apply(o, frame, r, Selu());
  }
}

}  // namespace xst::kernels::XST_ARITHMETIC::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
