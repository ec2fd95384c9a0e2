// Vectors of the current target and loops over arrays whose length is no multiple of a vector.
#include <cstddef>
#include <cstdint>

#include "hwy/highway.h"
#include "kernels/ops.h"

#if defined(XST_KERNELS_CPU_LANES_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef XST_KERNELS_CPU_LANES_INL_H_
#undef XST_KERNELS_CPU_LANES_INL_H_
#else
#define XST_KERNELS_CPU_LANES_INL_H_
#endif

HWY_BEFORE_NAMESPACE();
namespace xst::kernels::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

using D = hn::CappedTag<float, kUnit>;
using V = hn::Vec<D>;
inline constexpr size_t kLanes = HWY_MIN(kUnit, HWY_LANES(float));  // of a vector
inline constexpr size_t kPanelVectors = kUnit / kLanes;             // of a panel's 16 rows

HWY_INLINE V Splat(float x) { return hn::Set(D(), x); }

// A whole vector.
struct Full {
  HWY_INLINE V Load(const float* p) const { return hn::LoadU(D(), p); }
  HWY_INLINE void Store(V v, float* p) const { hn::StoreU(v, D(), p); }
  HWY_INLINE V Keep(V v) const { return v; }
};

// The first n lanes, 0 < n < kLanes: loads fill with zeros; stores leave what lies behind alone, as
// it may belong to another thread.
struct Part {
  size_t n;

  HWY_INLINE V Load(const float* p) const {
#if HWY_TARGET == HWY_AVX2 || HWY_TARGET == HWY_AVX3
    return hn::MaskedLoad(hn::FirstN(D(), n), D(), p);
#else
    HWY_ALIGN float lanes[kLanes] = {};
    for (size_t i = 0; i < n; ++i) lanes[i] = p[i];
    return hn::Load(D(), lanes);
#endif
  }
  HWY_INLINE void Store(V v, float* p) const {
#if HWY_TARGET == HWY_AVX2 || HWY_TARGET == HWY_AVX3
    hn::BlendedStore(v, hn::FirstN(D(), n), D(), p);
#else
    HWY_ALIGN float lanes[kLanes];
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

HWY_INLINE float Sum(V v) { return hn::GetLane(hn::SumOfLanes(D(), v)); }

}  // namespace xst::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
