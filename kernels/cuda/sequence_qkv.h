// The front of an mLSTM block for every token at once: convolution, q, k, v, and both gates.
#pragma once

#include <cuda_runtime.h>

#include "kernels/cuda/frames.h"

namespace xst::kernels::cuda {

// The ops as a Stack's MlstmBlock has them: q and k read what conv writes, v what it reads; gates
// reads [q | k | v].
struct QkvOps {
  Conv conv;
  BlockLinear q, k, v;
  Linear gates;
};

// Whether one kernel can do it; otherwise the ops run one by one.
bool FitsSequence(const QkvOps& o);

// c, q, k, v and the gates of every token, and the convolution's history.
cudaError_t LaunchSequence(const QkvOps& o, const Sequence<float>& s, cudaStream_t stream);

// The same with the cell behind it, where q, k and v need not be written: the cell makes them again
// of c and of what the convolution reads. workspace: the cell's.
bool FitsSequence(const QkvOps& o, const MlstmCell& cell, const Sequence<float>& s);
cudaError_t LaunchSequence(const QkvOps& o, const MlstmCell& cell, const Sequence<float>& s,
                           void* workspace, cudaStream_t stream);

}  // namespace xst::kernels::cuda
