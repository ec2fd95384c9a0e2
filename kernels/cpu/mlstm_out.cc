#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/mlstm_out.cc"
#include "kernels/cpu/targets.h"

#include "hwy/foreach_target.h"

#include "kernels/cpu/center-inl.h"
#include "kernels/cpu/lanes-inl.h"
#include "kernels/cpu/math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace xst::kernels::XST_ARITHMETIC::HWY_NAMESPACE {

void Run(const MlstmOut& o, float* frame, Range r) {
  for (size_t head = r.begin; head < r.end; ++head) {
    const size_t at = head * o.dim;
    const float* h = frame + o.h + at;
    const float* c = frame + o.c + at;
    const float* z = frame + o.z + at;
    const float* weight = o.weight + at;
    const float* skip = o.skip + at;
    float* y = frame + o.y + at;
    const Centering center = Center(h, o.dim, o.eps);
    const V one = Splat(1.0f);
    ForLanes(0, o.dim, [&](size_t i, auto lanes) HWY_ATTR {
      const V normed = hn::Mul(center(lanes.Load(h + i)), hn::Add(one, lanes.Load(weight + i)));
      const V s = hn::MulAdd(lanes.Load(skip + i), lanes.Load(c + i), normed);
      lanes.Store(hn::Mul(s, Silu(lanes.Load(z + i))), y + i);
    });
  }
}

}  // namespace xst::kernels::XST_ARITHMETIC::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
