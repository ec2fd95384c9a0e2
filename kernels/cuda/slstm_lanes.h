// One step of an sLSTM block for every lane: one kernel for the layer, two for the feed-forward.
#pragma once

#include <cuda_runtime.h>

#include "kernels/cuda/frames.h"
#include "kernels/cuda/stack.h"

namespace xst::kernels::cuda {

// Whether LaunchBlock computes this block on these frames.
bool BlockFits(const SlstmBlock& block, const Frames<float>& frames);

// x and the state of every active lane, one step on. Activations between the ops are not written,
// except the input of the feed-forward's down projection.
cudaError_t LaunchBlock(const SlstmBlock& block, const Frames<float>& frames, cudaStream_t stream);

// Of that only the layer, without the feed-forward.
cudaError_t LaunchSlstmLayer(const SlstmBlock& block, const Frames<float>& frames,
                             cudaStream_t stream);

}  // namespace xst::kernels::cuda
