// One token of an xLSTM Large model: five kernels a block, each of which already reads its weights
// while the one before it ends.
#pragma once

#include <cuda_runtime.h>

#include "kernels/cuda/gemv.h"
#include "kernels/cuda/large_stack.h"

namespace xst::kernels::cuda {

// Whether LaunchLargeDecode can run this model.
bool Fits(const LargeStack& s);

// The step of every lane: token id at embed.token, logits at head.y, state as the ops say. Other
// activations are not all written. Capturable in a graph; allocates nothing.
cudaError_t LaunchLargeDecode(const LargeStack& s, const Frames<float>& frames,
                              const DeviceShape& device, cudaStream_t stream);

}  // namespace xst::kernels::cuda
