#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/linear.cc"
#include "kernels/cpu/targets.h"

#include "hwy/foreach_target.h"

#include "kernels/cpu/lanes-inl.h"
#include "kernels/cpu/panel-inl.h"

HWY_BEFORE_NAMESPACE();
namespace xst::kernels::XST_ARITHMETIC::HWY_NAMESPACE {

// Stores sums of rows [row, row + kLanes), of which those below o.w.rows exist.
HWY_INLINE void Store(const Linear& o, float* y, size_t row, V sums) {
  ForLanes(row, HWY_MIN(row + kLanes, o.w.rows), [&](size_t i, auto lanes) HWY_ATTR {
    V v = sums;
    if (o.bias) v = hn::Add(v, lanes.Load(o.bias + i));
    if (o.accumulate) v = hn::Add(lanes.Load(y + i), v);
    lanes.Store(v, y + i);
  });
}

template <size_t kVectors>
HWY_INLINE void Panels(const Linear& o, const float* x, float* y, size_t first) {
  V sums[kVectors];
  PanelProduct(
      F32Rows<kVectors>(o.w, first), o.w.cols,
      [x](size_t, size_t k) HWY_ATTR { return Splat(x[k]); }, sums);
  for (size_t i = 0; i < kVectors; ++i) Store(o, y, (first + i) * kLanes, sums[i]);
}

// One row of layout `rows`: four partial sums of every fourth vector, then the rest.
HWY_INLINE Real Row(const float* w, const float* x, size_t cols) {
  V sums[4] = {hn::Zero(D()), hn::Zero(D()), hn::Zero(D()), hn::Zero(D())};
  size_t k = 0;
  for (; k + 4 * kLanes <= cols; k += 4 * kLanes) {
    HWY_UNROLL(4)
    for (size_t i = 0; i < 4; ++i) {
      const size_t at = k + i * kLanes;
      sums[i] = hn::MulAdd(LoadWhole(w + at), LoadWhole(x + at), sums[i]);
    }
  }
  ForLanes(k, cols, [&](size_t at, auto lanes) HWY_ATTR {
    sums[0] = hn::MulAdd(lanes.Load(w + at), lanes.Load(x + at), sums[0]);
  });
  return Sum(hn::Add(hn::Add(sums[0], sums[1]), hn::Add(sums[2], sums[3])));
}

void Run(const Linear& o, float* frame, Range r) {
  const float* x = frame + o.x;
  float* y = frame + o.y;
  if (o.w.layout == Layout::rows) {
    for (size_t row = r.begin; row < r.end; ++row) {
      const float* w = static_cast<const float*>(o.w.data) + row * RoundUp16(o.w.cols);
      Real v = Row(w, x, o.w.cols);
      if (o.bias) v += o.bias[row];
      y[row] = static_cast<float>(o.accumulate ? y[row] + v : v);
    }
    return;
  }
  const size_t end = r.end * kPanelVectors;
  size_t v = r.begin * kPanelVectors;
  for (; v + kGroup <= end; v += kGroup) Panels<kGroup>(o, x, y, v);
  for (; v < end; v += kPanelVectors) Panels<kPanelVectors>(o, x, y, v);
}

}  // namespace xst::kernels::XST_ARITHMETIC::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
