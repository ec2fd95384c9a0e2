// One step of an mLSTM block for every lane: three kernels, of which the middle one moves the state
// once and is bound by that.
#pragma once

#include <cuda_runtime.h>

#include "kernels/cuda/frames.h"
#include "kernels/cuda/stack.h"

namespace xst::kernels::cuda {

// Whether LaunchBlock computes this block on these frames.
bool BlockFits(const MlstmBlock& block, const Frames<float>& frames);

// x and the state of every active lane, one step on. Activations between the ops (u, c, q, k, v,
// gates, h) are not written.
cudaError_t LaunchBlock(const MlstmBlock& block, const Frames<float>& frames, cudaStream_t stream);

// Of that only what lies between the up and the down projection.
cudaError_t LaunchMlstmCore(const MlstmBlock& block, const Frames<float>& frames,
                            cudaStream_t stream);

}  // namespace xst::kernels::cuda
