#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/dispatch.cc"
#include "kernels/cpu/targets.h"

#include "hwy/foreach_target.h"

#include "kernels/kernels.h"

#include <cstring>

#if defined(__aarch64__)
#include <sys/auxv.h>
#endif

#include "hwy/highway.h"
#include "kernels/cpu/declare_ops.h"
#include "kernels/cpu/features.h"
#if HWY_ARCH_X86
#include "kernels/cpu/x86.h"
#endif

HWY_BEFORE_NAMESPACE();
namespace xst::kernels {

#define XST_DECLARE_TABLE(arithmetic, T)                 \
  namespace arithmetic::HWY_NAMESPACE {                  \
  XST_DECLARE_OPS(T)                                     \
  void Run(const Linear&, const Batch<T>&, Range);       \
  void Run(const BlockLinear&, const Batch<T>&, Range);  \
  void Run(const Conv&, const Batch<T>&, Range);         \
  void Run(const MlstmCell&, const Batch<T>&, Range);    \
  void Run(const SlstmInput&, const Batch<T>&, Range);   \
  void Run(const SlstmCell&, const Batch<T>&, Range);    \
  void Run(const SlstmOut&, const Batch<T>&, Range);     \
  void Run(const MlstmCell&, const Sequence<T>&, Range); \
  constexpr Kernels<T> kTable = {XST_TARGET_NAME,        \
                                 #arithmetic,            \
                                 Run,                    \
                                 Run,                    \
                                 Run,                    \
                                 Run,                    \
                                 Run,                    \
                                 Run,                    \
                                 Run,                    \
                                 Run,                    \
                                 Run,                    \
                                 Run,                    \
                                 Run,                    \
                                 Run,                    \
                                 Run,                    \
                                 Run,                    \
                                 Run,                    \
                                 Run,                    \
                                 Run,                    \
                                 Run,                    \
                                 Run,                    \
                                 Run};                   \
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

XST_DECLARE_TABLE(single, float)
#if HWY_TARGET != HWY_NEON || HWY_ARCH_ARM_A64  // targets.h says why
XST_DECLARE_TABLE(wide, double)
#endif
#undef XST_DECLARE_TABLE

}  // namespace xst::kernels
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace xst::kernels {
namespace {

#if HWY_TARGETS & HWY_NEON
#if HWY_ARCH_ARM_A64
constexpr const Kernels<double>& kWideNeon = wide::N_NEON::kTable;
#else
constexpr Kernels<double> kWideNeon = [] {
  Kernels<double> table = wide::N_SCALAR::kTable;
  table.name = "neon";
  return table;
}();
#endif
#endif

constexpr size_t kMaxTables = 3;

// The tables of this machine, best first.
struct Available {
  const Kernels<float>* single[kMaxTables];
  const Kernels<double>* wide[kMaxTables];
  const char* names[kMaxTables + 1] = {};
  size_t count = 0;

  Available() {
#if HWY_TARGETS & HWY_AVX3
    if (HasAvx512()) Add(kernels::single::N_AVX3::kTable, kernels::wide::N_AVX3::kTable);
#endif
#if HWY_TARGETS & HWY_AVX2
    if (HasAvx2()) Add(kernels::single::N_AVX2::kTable, kernels::wide::N_AVX2::kTable);
#endif
#if HWY_TARGETS & HWY_NEON
    Add(kernels::single::N_NEON::kTable, kWideNeon);
#endif
    Add(kernels::single::N_SCALAR::kTable, kernels::wide::N_SCALAR::kTable);
  }
  void Add(const Kernels<float>& in_single, const Kernels<double>& in_wide) {
    single[count] = &in_single;
    wide[count] = &in_wide;
    names[count++] = in_single.name;
  }
};

const Available& Tables() {
  static const Available available;
  return available;
}

template <class T>
const Kernels<T>* Find(const Kernels<T>* const (&tables)[kMaxTables], const char* name) {
  for (size_t i = 0; i < Tables().count; ++i) {
    if (std::strcmp(Tables().names[i], name) == 0) return tables[i];
  }
  return nullptr;
}

}  // namespace

template <>
const Kernels<float>* FindCpuKernels(const char* name) {
  return Find(Tables().single, name);
}
template <>
const Kernels<double>* FindCpuKernels(const char* name) {
  return Find(Tables().wide, name);
}

bool HasAvx512Vnni() {
#if HWY_ARCH_X86
  static const bool has = __builtin_cpu_supports("avx512vnni");
  return has;
#else
  return false;
#endif
}

bool HasDotProduct() {
#if defined(__aarch64__)
  static const bool has = (getauxval(AT_HWCAP) & HWCAP_ASIMDDP) != 0;
  return has;
#else
  return false;
#endif
}

const char* const* CpuKernelNames() { return Tables().names; }

}  // namespace xst::kernels
#endif  // HWY_ONCE
