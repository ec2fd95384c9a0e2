// Matrix products of many tokens at once, enough to fill the device with whole rows of them.
#pragma once

#include <cuda_runtime.h>

#include "kernels/cuda/frames.h"

namespace xst::kernels::cuda {

// Whether LaunchSequence takes `l`, with the norm in front of it and the activation behind it if
// there are any, for these tokens; otherwise LaunchLinearTokens (linear_tokens.h) does.
bool FitsSequence(const Norm* norm, const Linear& l, const GatedAct* act,
                  const Frames<float>& tokens);

// y of every token; neither what the norm gives nor the gates are written.
cudaError_t LaunchSequence(const Norm* norm, const Linear& l, const GatedAct* act,
                           const Frames<float>& tokens, cudaStream_t stream);

}  // namespace xst::kernels::cuda
