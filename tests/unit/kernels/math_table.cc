#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "tests/unit/kernels/math_table.cc"
#include "kernels/cpu/targets.h"

#include "hwy/foreach_target.h"

#include "kernels/cpu/math-inl.h"
#include "tests/unit/kernels/math_table.h"

HWY_BEFORE_NAMESPACE();
namespace xst::kernels::XST_ARITHMETIC::HWY_NAMESPACE {

template <V (*kFunction)(V)>
void Map(const float* x, float* y, size_t n) {
  ForLanes(0, n, [&](size_t i, auto lanes) HWY_ATTR {
    HWY_ALIGN Real results[kLanes];
    hn::Store(kFunction(lanes.Load(x + i)), D(), results);
    for (size_t j = 0; j < HWY_MIN(kLanes, n - i); ++j) y[i + j] = static_cast<float>(results[j]);
  });
}

constexpr MathTable kMath = {HWY_TARGET == HWY_SCALAR ? "scalar"
                             : HWY_TARGET == HWY_AVX2 ? "avx2"
                             : HWY_TARGET == HWY_AVX3 ? "avx512"
                                                      : "neon",
                             Map<Exp>,
                             Map<Expm1NonPositive>,
                             Map<Log1pUnit>,
                             Map<LogSigmoid>,
                             Map<Sigmoid>,
                             Map<Silu>,
                             Map<Tanh>,
                             Map<Erf>};

}  // namespace xst::kernels::XST_ARITHMETIC::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace xst::kernels::XST_ARITHMETIC {

std::vector<const MathTable*> MathTables() {
  return {
#if HWY_TARGETS & HWY_AVX3
    &N_AVX3::kMath,
#endif
#if HWY_TARGETS & HWY_AVX2
        &N_AVX2::kMath,
#endif
#if HWY_TARGETS & HWY_NEON
        &N_NEON::kMath,
#endif
        &N_SCALAR::kMath
  };
}

}  // namespace xst::kernels::XST_ARITHMETIC
#endif  // HWY_ONCE
