// The elementary functions of kernels/cpu/math-inl.h, of each compiled target.
#pragma once

#include <cstddef>
#include <vector>

namespace xst::kernels {

using ArrayFunction = void (*)(const float* x, float* y, size_t n);

struct MathTable {
  const char* name;  // as in Kernels::name
  ArrayFunction exp, expm1_non_positive, log1p_unit, log_sigmoid, sigmoid, silu, tanh, erf;
};

// All that were compiled, whether this machine has them or not.
namespace single {
std::vector<const MathTable*> MathTables();
}
namespace wide {
std::vector<const MathTable*> MathTables();
}

}  // namespace xst::kernels
