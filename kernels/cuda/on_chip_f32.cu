// The on-chip kernels of f32 weights.
#include "kernels/cuda/on_chip_fixed.h"
#include "kernels/cuda/on_chip_kernel.cuh"

namespace xst::kernels::cuda {

const void* OnChipKernelF32(OnChipBody body, bool fixed) {
  return FindOnChipKernel<float, WeightF32>(body, fixed);
}

}  // namespace xst::kernels::cuda
