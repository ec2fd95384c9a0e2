// Mean and variance of a vector, for the layer norm and the norm of one head.
#include <cmath>

#include "kernels/cpu/lanes-inl.h"

#if defined(XST_KERNELS_CPU_CENTER_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef XST_KERNELS_CPU_CENTER_INL_H_
#undef XST_KERNELS_CPU_CENTER_INL_H_
#else
#define XST_KERNELS_CPU_CENTER_INL_H_
#endif

HWY_BEFORE_NAMESPACE();
namespace xst::kernels::XST_ARITHMETIC::HWY_NAMESPACE {

// The normed x is ((x - mean) - rest) * rstd. `rest` is what rounding left out of `mean`, so that
// nearly equal inputs keep their digits and equal ones give 0.
struct Centering {
  Real mean, rest, rstd;

  HWY_INLINE V operator()(V x) const {
    return hn::Mul(hn::Sub(hn::Sub(x, Splat(mean)), Splat(rest)), Splat(rstd));
  }
};

// Sum of f(x) over x[0, size), in blocks that keep the rounding of long sums small.
template <class F>
HWY_INLINE Real SumOf(const Real* x, size_t size, const F& f) {
  constexpr size_t kBlock = 128;
  V sum = hn::Zero(D());
  for (size_t begin = 0; begin < size; begin += kBlock) {
    V block = hn::Zero(D());
    ForLanes(begin, HWY_MIN(begin + kBlock, size), [&](size_t i, auto lanes) HWY_ATTR {
      block = hn::Add(block, lanes.Keep(f(lanes.Load(x + i))));
    });
    sum = hn::Add(sum, block);
  }
  return Sum(sum);
}

HWY_INLINE Centering Center(const Real* x, size_t size, float eps) {
  const Real n = static_cast<Real>(size);
  const V first = Splat(x[0]);
  const Real mean = x[0] + SumOf(x, size, [&](V v) HWY_ATTR { return hn::Sub(v, first); }) / n;
  const V m = Splat(mean);
  const Real rest = SumOf(x, size, [&](V v) HWY_ATTR { return hn::Sub(v, m); }) / n;
  const V r = Splat(rest);
  const Real square = SumOf(x, size, [&](V v) HWY_ATTR {
    const V d = hn::Sub(hn::Sub(v, m), r);
    return hn::Mul(d, d);
  });
  return {mean, rest, Real{1} / std::sqrt(square / n + eps)};
}

}  // namespace xst::kernels::XST_ARITHMETIC::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
