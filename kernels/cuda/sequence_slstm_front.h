// The front of an sLSTM block for every token at once: norm, convolution, the input-side products.
#pragma once

#include <cuda_runtime.h>

#include "kernels/cuda/frames.h"

namespace xst::kernels::cuda {

// The ops as a Stack's SlstmBlock has them: conv reads what norm writes, input both of what they
// write.
struct SlstmFront {
  Norm norm;
  Conv conv;
  SlstmInput input;
};

// Whether one kernel can do it; otherwise the ops run one by one.
bool FitsSequence(const SlstmFront& o, const Sequence<float>& s);

// wx of every token, and the convolution's history; what norm and conv give is not written.
cudaError_t LaunchSequence(const SlstmFront& o, const Sequence<float>& s, cudaStream_t stream);

}  // namespace xst::kernels::cuda
