// One step of the matrix memory, spread over the whole device.
#pragma once

#include <cuda_runtime.h>

#include "kernels/cuda/frames.h"

namespace xst::kernels::cuda {

// All of MlstmCell but n' and m', which every block still reads: the kernel that comes next in the
// stream writes them (Gemv::cell). That one may start before the predecessor of this has finished,
// so it reads only constants before it waits. C is read before the predecessor has finished.
// `dependent`: see dependent_launch.cuh.
cudaError_t LaunchMlstmDecode(const MlstmCell& o, const Frames<float>& frames, bool dependent,
                              cudaStream_t stream);

}  // namespace xst::kernels::cuda
