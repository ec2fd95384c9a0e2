// Elementary functions, with error bounds in units in the last place of the true value, over all
// floats unless said otherwise. Results below twice the smallest normal float may be flushed to
// zero. A NaN stays one. In double they are within 1e-11 of the true value, relatively.
#include "kernels/cpu/lanes-inl.h"

#if defined(XST_KERNELS_CPU_MATH_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef XST_KERNELS_CPU_MATH_INL_H_
#undef XST_KERNELS_CPU_MATH_INL_H_
#else
#define XST_KERNELS_CPU_MATH_INL_H_
#endif

HWY_BEFORE_NAMESPACE();
namespace xst::kernels::XST_ARITHMETIC::HWY_NAMESPACE {

using DI = hn::RebindToSigned<D>;
using VI = hn::Vec<DI>;

// The smaller and the larger of x and a limit; unlike Min and Max of every target, a NaN stays one.
#if HWY_TARGET == HWY_AVX2 || HWY_TARGET == HWY_AVX3
// x86 gives the second where one is NaN, or both are equal.
HWY_INLINE V AtMost(V x, V limit) { return hn::Min(limit, x); }
HWY_INLINE V AtLeast(V x, V limit) { return hn::Max(limit, x); }
#else
HWY_INLINE V AtMost(V x, V limit) { return hn::IfThenElse(hn::Gt(x, limit), limit, x); }
HWY_INLINE V AtLeast(V x, V limit) { return hn::IfThenElse(hn::Lt(x, limit), limit, x); }
#endif

// c0 + x (c1 + x (c2 + ...)).
HWY_INLINE V Polynomial(V, double c0) { return Splat(c0); }
template <class... C>
HWY_INLINE V Polynomial(V x, double c0, C... c) {
  return hn::MulAdd(Polynomial(x, c...), x, Splat(c0));
}

#ifdef XST_WIDE
#include "kernels/cpu/math_wide-inl.h"
#else
#include "kernels/cpu/math_single-inl.h"
#endif

// ln(sigmoid(x)) = min(x, 0) - log1p(e^-|x|). 3 ulp.
HWY_INLINE V LogSigmoid(V x) {
  return hn::Sub(AtMost(x, hn::Zero(D())), Log1pUnit(Exp(hn::Neg(hn::Abs(x)))));
}

// 1 / (1 + e^-x). 2.5 ulp.
HWY_INLINE V Sigmoid(V x) { return Divide(Splat(1.0f), hn::Add(Splat(1.0f), Exp(hn::Neg(x)))); }

// x sigmoid(x); 0 below -88.7. 2.5 ulp above.
HWY_INLINE V Silu(V x) { return Divide(x, hn::Add(Splat(1.0f), Exp(hn::Neg(x)))); }

}  // namespace xst::kernels::XST_ARITHMETIC::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
