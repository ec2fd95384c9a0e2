// The tables of a minimal build: one instruction set, chosen when it is compiled.
#include <cstring>

#include "kernels/cpu/declare_ops.h"
#include "kernels/cpu/features.h"
#include "kernels/kernels.h"
#if defined(XST_ISA_AVX2) || defined(XST_ISA_AVX512)
#include "kernels/cpu/x86.h"
#endif

namespace xst::kernels {

// XST_ISA_SINGLE, XST_ISA_WIDE: Highway's namespaces of the ops in float and in double.
#define XST_DECLARE_TABLE(arithmetic, target, T)                                 \
  namespace arithmetic::target {                                                 \
  XST_DECLARE_OPS(T)                                                             \
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
  return HasAvx2();
#elif defined(XST_ISA_AVX512)
  return HasAvx512();
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
