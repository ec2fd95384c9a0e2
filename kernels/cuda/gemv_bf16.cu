#include "kernels/cuda/gemv.cuh"

namespace xst::kernels::cuda {

template cudaError_t LaunchGemvOf<WeightBf16>(const RowTask&, const Frames<float>&,
                                              const DeviceShape&, bool, cudaStream_t);

}  // namespace xst::kernels::cuda
