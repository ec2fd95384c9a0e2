// The on-chip kernels of wide models.
#include "kernels/cuda/on_chip_fixed.h"
#include "kernels/cuda/on_chip_kernel.cuh"

namespace xst::kernels::cuda {

const void* OnChipKernelF64(OnChipBody body, bool) {
  return FindOnChipKernel<double, WeightF32>(body, false);
}

}  // namespace xst::kernels::cuda
