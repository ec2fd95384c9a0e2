// The on-chip kernels of i8 weights.
#include "kernels/cuda/on_chip_fixed.h"
#include "kernels/cuda/on_chip_kernel.cuh"

namespace xst::kernels::cuda {

const void* OnChipKernelI8(OnChipBody body, bool fixed) {
  return FindOnChipKernel<float, WeightI8>(body, fixed);
}

}  // namespace xst::kernels::cuda
