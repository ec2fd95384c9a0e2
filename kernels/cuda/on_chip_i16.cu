// The on-chip kernels of i16 weights.
#include "kernels/cuda/on_chip_fixed.h"
#include "kernels/cuda/on_chip_kernel.cuh"

namespace xst::kernels::cuda {

const void* OnChipKernelI16(OnChipBody body, bool fixed) {
  return FindOnChipKernel<float, WeightI16>(body, fixed);
}

}  // namespace xst::kernels::cuda
