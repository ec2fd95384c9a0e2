#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/embed.cc"
#include "kernels/cpu/targets.h"

#include "hwy/foreach_target.h"

#include "kernels/cpu/lanes-inl.h"

HWY_BEFORE_NAMESPACE();
namespace xst::kernels::XST_ARITHMETIC::HWY_NAMESPACE {

void Run(const Embed& o, float* frame, Range) {
  const size_t row = static_cast<size_t>(frame[o.token]);
  const size_t cols = o.table.cols;
  const float* data = static_cast<const float*>(o.table.data);
  float* x = frame + o.x;
  if (o.table.layout == Layout::rows) {
    const float* from = data + row * RoundUp16(o.table.cols);
    ForLanes(0, cols,
             [&](size_t i, auto lanes) HWY_ATTR { lanes.Store(lanes.Load(from + i), x + i); });
  } else {
    const float* from = data + row / kUnit * cols * kUnit + row % kUnit;
    for (size_t k = 0; k < cols; ++k) x[k] = from[k * kUnit];
  }
}

}  // namespace xst::kernels::XST_ARITHMETIC::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
