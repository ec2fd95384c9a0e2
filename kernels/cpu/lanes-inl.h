// Vectors of the current target and loops over arrays whose length is no multiple of a vector.
#include <cstddef>
#include <cstdint>

#include "hwy/highway.h"
#include "kernels/cpu/targets.h"
#include "kernels/ops.h"

#if defined(XST_KERNELS_CPU_LANES_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef XST_KERNELS_CPU_LANES_INL_H_
#undef XST_KERNELS_CPU_LANES_INL_H_
#else
#define XST_KERNELS_CPU_LANES_INL_H_
#endif

HWY_BEFORE_NAMESPACE();
namespace xst::kernels::XST_ARITHMETIC::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

// What the frame holds and the ops compute in; weights are float or smaller either way.
#ifdef XST_WIDE
using Real = double;
#else
using Real = float;
#endif
using D = hn::CappedTag<Real, kUnit>;
using V = hn::Vec<D>;
inline constexpr size_t kLanes = HWY_MIN(kUnit, HWY_LANES(Real));  // of a vector
inline constexpr size_t kPanelVectors = kUnit / kLanes;            // of a panel's 16 rows

template <class S>
HWY_INLINE V Splat(S x) {
  return hn::Set(D(), static_cast<Real>(x));
}

#ifdef XST_WIDE
using Narrow = hn::Rebind<float, D>;
HWY_INLINE V LoadWhole(const float* p) { return hn::PromoteTo(D(), hn::LoadU(Narrow(), p)); }
#endif
HWY_INLINE V LoadWhole(const Real* p) { return hn::LoadU(D(), p); }
HWY_INLINE void StoreWhole(V v, Real* p) { hn::StoreU(v, D(), p); }

// A whole vector.
struct Full {
  template <class T>
  HWY_INLINE V Load(const T* p) const {
    return LoadWhole(p);
  }
  HWY_INLINE void Store(V v, Real* p) const { StoreWhole(v, p); }
  HWY_INLINE V Keep(V v) const { return v; }
};

// The first n lanes, 0 < n < kLanes: loads fill with zeros; stores leave what lies behind alone, as
// it may belong to another thread.
struct Part {
  size_t n;

  template <class T>
  HWY_INLINE V Load(const T* p) const {
#if (HWY_TARGET == HWY_AVX2 || HWY_TARGET == HWY_AVX3) && !defined(XST_WIDE)
    return hn::MaskedLoad(hn::FirstN(D(), n), D(), p);
#else
    HWY_ALIGN Real lanes[kLanes] = {};
    for (size_t i = 0; i < n; ++i) lanes[i] = p[i];
    return hn::Load(D(), lanes);
#endif
  }
  HWY_INLINE void Store(V v, Real* p) const {
#if (HWY_TARGET == HWY_AVX2 || HWY_TARGET == HWY_AVX3) && !defined(XST_WIDE)
    hn::BlendedStore(v, hn::FirstN(D(), n), D(), p);
#else
    HWY_ALIGN Real lanes[kLanes];
    hn::Store(v, D(), lanes);
    for (size_t i = 0; i < n; ++i) p[i] = lanes[i];
#endif
  }
  HWY_INLINE V Keep(V v) const { return hn::IfThenElseZero(hn::FirstN(D(), n), v); }
};

// f(i, lanes) for i = begin, begin + kLanes, ... below end, `lanes` a Full or, at the end, a Part.
template <class F>
HWY_INLINE void ForLanes(size_t begin, size_t end, const F& f) {
  size_t i = begin;
  for (; i + kLanes <= end; i += kLanes) f(i, Full());
  if (i < end) f(i, Part{end - i});
}

// As a snapshot keeps v, which is float.
HWY_INLINE V Rounded(V v) {
#ifdef XST_WIDE
  return hn::PromoteTo(D(), hn::DemoteTo(Narrow(), v));
#else
  return v;
#endif
}

// a / b, rounded once. NEON of 32-bit ARM has estimates alone, and none for the largest floats.
HWY_INLINE V Divide(V a, V b) {
#if HWY_TARGET == HWY_NEON && HWY_ARCH_ARM_V7
  HWY_ALIGN Real quotients[kLanes];
  HWY_ALIGN Real divisors[kLanes];
  hn::Store(a, D(), quotients);
  hn::Store(b, D(), divisors);
  for (size_t i = 0; i < kLanes; ++i) quotients[i] /= divisors[i];
  return hn::Load(D(), quotients);
#else
  return hn::Div(a, b);
#endif
}

HWY_INLINE Real Sum(V v) { return hn::GetLane(hn::SumOfLanes(D(), v)); }

}  // namespace xst::kernels::XST_ARITHMETIC::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
