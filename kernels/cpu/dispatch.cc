#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/dispatch.cc"
#include "kernels/cpu/targets.h"

#include "hwy/foreach_target.h"

#include "kernels/kernels.h"

#include <cstring>

#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace xst::kernels::HWY_NAMESPACE {

void Run(const Norm&, float*, Range);
void Run(const Linear&, float*, Range);
void Run(const BlockLinear&, float*, Range);
void Run(const Conv&, float*, Range);
void Run(const MlstmCell&, float*, Range);
void Run(const MlstmOut&, float*, Range);
void Run(const SlstmInput&, float*, Range);
void Run(const SlstmCell&, float*, Range);
void Run(const SlstmOut&, float*, Range);
void Run(const GatedAct&, float*, Range);
void Run(const Embed&, float*, Range);

constexpr const char* kName = HWY_TARGET == HWY_SCALAR ? "scalar"
                              : HWY_TARGET == HWY_AVX2 ? "avx2"
                              : HWY_TARGET == HWY_AVX3 ? "avx512"
                                                       : "neon";
constexpr Kernels<float> kTable = {kName, Run, Run, Run, Run, Run, Run, Run, Run, Run, Run, Run};

}  // namespace xst::kernels::HWY_NAMESPACE
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
  const Kernels<float>* tables[kMaxTables];
  const char* names[kMaxTables + 1] = {};
  size_t count = 0;

  Available() {
#if HWY_TARGETS & HWY_AVX3
    if (HasAvx512()) Add(N_AVX3::kTable);
#endif
#if HWY_TARGETS & HWY_AVX2
    if (HasAvx2()) Add(N_AVX2::kTable);
#endif
#if HWY_TARGETS & HWY_NEON
    Add(N_NEON::kTable);
#endif
    Add(N_SCALAR::kTable);
  }
  void Add(const Kernels<float>& table) {
    tables[count] = &table;
    names[count++] = table.name;
  }
};

const Available& Tables() {
  static const Available available;
  return available;
}

}  // namespace

const Kernels<float>* FindCpuKernels(const char* name) {
  for (size_t i = 0; i < Tables().count; ++i) {
    if (std::strcmp(Tables().names[i], name) == 0) return Tables().tables[i];
  }
  return nullptr;
}

const Kernels<float>* BestCpuKernels() { return Tables().tables[0]; }

const char* const* CpuKernelNames() { return Tables().names; }

}  // namespace xst::kernels
#endif  // HWY_ONCE
