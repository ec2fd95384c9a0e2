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

// Of kCount vectors one behind the other, which take turns so that they wait together.
template <size_t kCount>
HWY_INLINE void Center(const Real* x, size_t size, float eps, Centering (&out)[kCount]) {
  const Real n = static_cast<Real>(size);
  for (size_t i = 0; i < kCount; ++i) {
    const Real* xi = x + i * size;
    const V first = Splat(xi[0]);
    out[i].mean = xi[0] + SumOf(xi, size, [&](V v) HWY_ATTR { return hn::Sub(v, first); }) / n;
  }
  for (size_t i = 0; i < kCount; ++i) {
    const V m = Splat(out[i].mean);
    out[i].rest = SumOf(x + i * size, size, [&](V v) HWY_ATTR { return hn::Sub(v, m); }) / n;
  }
  for (size_t i = 0; i < kCount; ++i) {
    const V m = Splat(out[i].mean), r = Splat(out[i].rest);
    const Real square = SumOf(x + i * size, size, [&](V v) HWY_ATTR {
      const V d = hn::Sub(hn::Sub(v, m), r);
      return hn::Mul(d, d);
    });
    out[i].rstd = Real{1} / std::sqrt(square / n + eps);
  }
}

HWY_INLINE Centering Center(const Real* x, size_t size, float eps) {
  Centering out[1];
  Center(x, size, eps, out);
  return out[0];
}

// f(head, its Centering) for heads [r.begin, r.end) of `dim` elements each from x on.
template <class F>
HWY_INLINE void ForCenteredHeads(const Real* x, size_t dim, float eps, Range r, const F& f) {
  constexpr size_t kTogether = 4;
  size_t head = r.begin;
  for (; head + kTogether <= r.end; head += kTogether) {
    Centering centers[kTogether];
    Center(x + head * dim, dim, eps, centers);
    for (size_t i = 0; i < kTogether; ++i) f(head + i, centers[i]);
  }
  for (; head < r.end; ++head) f(head, Center(x + head * dim, dim, eps));
}

}  // namespace xst::kernels::XST_ARITHMETIC::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
