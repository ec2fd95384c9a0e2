#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/dispatch.cc"
#include "kernels/cpu/targets.h"

#include "hwy/foreach_target.h"

#include "kernels/kernels.h"

#include <cstring>

#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace xst::kernels {

#define XST_DECLARE_TABLE(arithmetic)                                                            \
  namespace arithmetic::HWY_NAMESPACE {                                                          \
  void Run(const Norm&, float*, Range);                                                          \
  void Run(const Linear&, float*, Range);                                                        \
  void Run(const BlockLinear&, float*, Range);                                                   \
  void Run(const Conv&, float*, Range);                                                          \
  void Run(const MlstmCell&, float*, Range);                                                     \
  void Run(const MlstmOut&, float*, Range);                                                      \
  void Run(const SlstmInput&, float*, Range);                                                    \
  void Run(const SlstmCell&, float*, Range);                                                     \
  void Run(const SlstmOut&, float*, Range);                                                      \
  void Run(const GatedAct&, float*, Range);                                                      \
  void Run(const Pointwise&, float*, Range);                                                     \
  void Run(const Embed&, float*, Range);                                                         \
  constexpr Kernels<float> kTable = {                                                            \
      XST_TARGET_NAME, #arithmetic, Run, Run, Run, Run, Run, Run, Run, Run, Run, Run, Run, Run}; \
  }

#undef XST_TARGET_NAME
#if HWY_TARGET == HWY_SCALAR
#define XST_TARGET_NAME "scalar"
#elif HWY_TARGET == HWY_AVX2
#define XST_TARGET_NAME "avx2"
#elif HWY_TARGET == HWY_AVX3
#define XST_TARGET_NAME "avx512"
#else
#define XST_TARGET_NAME "neon"
#endif

XST_DECLARE_TABLE(single)
XST_DECLARE_TABLE(wide)
#undef XST_DECLARE_TABLE

}  // namespace xst::kernels
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace xst::kernels {
namespace {

#if HWY_ARCH_X86
// What Highway's targets of these names may use.
bool HasAvx2() {
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
         __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2");
}
bool HasAvx512() {
  return HasAvx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
         __builtin_cpu_supports("avx512cd");
}
#endif

constexpr size_t kMaxTables = 3;

// The tables of this machine, best first.
struct Available {
  const Kernels<float>* tables[2][kMaxTables];  // [Arithmetic]
  const char* names[kMaxTables + 1] = {};
  size_t count = 0;

  Available() {
#if HWY_TARGETS & HWY_AVX3
    if (HasAvx512()) Add(single::N_AVX3::kTable, wide::N_AVX3::kTable);
#endif
#if HWY_TARGETS & HWY_AVX2
    if (HasAvx2()) Add(single::N_AVX2::kTable, wide::N_AVX2::kTable);
#endif
#if HWY_TARGETS & HWY_NEON
    Add(single::N_NEON::kTable, wide::N_NEON::kTable);
#endif
    Add(single::N_SCALAR::kTable, wide::N_SCALAR::kTable);
  }
  void Add(const Kernels<float>& in_single, const Kernels<float>& in_wide) {
    tables[0][count] = &in_single;
    tables[1][count] = &in_wide;
    names[count++] = in_single.name;
  }
};

const Available& Tables() {
  static const Available available;
  return available;
}

}  // namespace

const Kernels<float>* FindCpuKernels(const char* name, Arithmetic arithmetic) {
  for (size_t i = 0; i < Tables().count; ++i) {
    if (std::strcmp(Tables().names[i], name) == 0) {
      return Tables().tables[static_cast<size_t>(arithmetic)][i];
    }
  }
  return nullptr;
}

const char* const* CpuKernelNames() { return Tables().names; }

}  // namespace xst::kernels
#endif  // HWY_ONCE
