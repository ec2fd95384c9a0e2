// The on-chip kernels of bf16 weights.
#include "kernels/cuda/on_chip_fixed.h"
#include "kernels/cuda/on_chip_kernel.cuh"

namespace xst::kernels::cuda {

const void* OnChipKernelBf16(OnChipBody body, bool fixed) {
  return FindOnChipKernel<float, WeightBf16>(body, fixed);
}

}  // namespace xst::kernels::cuda
