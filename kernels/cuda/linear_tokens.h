// Linear over many tokens, float accuracy (3xTF32 on tensor cores), with the norm in front of it
// and the gated activation behind it in the same kernel.
#pragma once

#include <cuda_runtime.h>

#include "kernels/cuda/frames.h"

namespace xst::kernels::cuda {

// Whether LaunchLinearTokens computes this chain. norm: l.x == norm->y and the row fits on chip
// (2,048 columns). act: [gate | linear] is l.y, l does not accumulate.
bool LinearTokensFits(const Norm* norm, const Linear& l, const GatedAct* act);

// y = [act](W [norm](x) [+ bias]), or y += ..., for every token, whatever `tokens.active` says.
// `norm` and `act` may be null. Of a fused chain only the last op's y is written. A token's result
// depends on the number of tokens (through the choice of tiles), never on the other tokens.
cudaError_t LaunchLinearTokens(const Norm* norm, const Linear& l, const GatedAct* act,
                               const Frames<float>& tokens, cudaStream_t stream);

}  // namespace xst::kernels::cuda
