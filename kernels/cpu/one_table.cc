// The tables of a minimal build: one instruction set, chosen when it is compiled.
#include <cstring>

#include "kernels/cpu/features.h"
#include "kernels/kernels.h"

namespace xst::kernels {

// XST_ISA_SINGLE, XST_ISA_WIDE: Highway's namespaces of the ops in float and in double.
#define XST_DECLARE_TABLE(arithmetic, target, T)                                 \
  namespace arithmetic::target {                                                 \
  void Run(const Norm&, T*, Range);                                              \
  void Run(const Linear&, T*, Range);                                            \
  void Run(const BlockLinear&, T*, Range);                                       \
  void Run(const Conv&, T*, Range);                                              \
  void Run(const MlstmCell&, T*, Range);                                         \
  void Run(const MlstmOut&, T*, Range);                                          \
  void Run(const SlstmInput&, T*, Range);                                        \
  void Run(const SlstmCell&, T*, Range);                                         \
  void Run(const SlstmOut&, T*, Range);                                          \
  void Run(const GatedAct&, T*, Range);                                          \
  void Run(const Pointwise&, T*, Range);                                         \
  void Run(const Embed&, T*, Range);                                             \
  constexpr Kernels<T> kTable = {XST_ISA, #arithmetic, Run, Run, Run, Run, Run,  \
                                 Run,     Run,         Run, Run, Run, Run, Run}; \
  }
#ifdef XST_HAS_SINGLE
XST_DECLARE_TABLE(single, XST_ISA_SINGLE, float)
#endif
#ifdef XST_HAS_WIDE
XST_DECLARE_TABLE(wide, XST_ISA_WIDE, double)
#endif
#undef XST_DECLARE_TABLE

namespace {

bool MachineHas() {
#if defined(XST_ISA_AVX2)
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
         __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2");
#elif defined(XST_ISA_AVX512)
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
         __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("bmi2");
#else
  return true;
#endif
}

}  // namespace

template <>
const Kernels<float>* FindCpuKernels([[maybe_unused]] const char* name) {
#ifdef XST_HAS_SINGLE
  if (MachineHas() && std::strcmp(name, XST_ISA) == 0) return &single::XST_ISA_SINGLE::kTable;
#endif
  return nullptr;
}
template <>
const Kernels<double>* FindCpuKernels([[maybe_unused]] const char* name) {
#ifdef XST_HAS_WIDE
  if (MachineHas() && std::strcmp(name, XST_ISA) == 0) return &wide::XST_ISA_WIDE::kTable;
#endif
  return nullptr;
}

// Without: the sums are the same ones.
bool HasAvx512Vnni() { return false; }
bool HasDotProduct() { return false; }

const char* const* CpuKernelNames() {
  static constexpr const char* kNames[] = {XST_ISA, nullptr};
  return kNames;
}

}  // namespace xst::kernels
