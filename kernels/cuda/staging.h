// Rows of values into frames and out of them.
#pragma once

#include <cuda_runtime_api.h>

#include "kernels/cuda/frames.h"

namespace xst::kernels::cuda {

// frame[slot + i] = from[lane][i], i < width; and `active_to` = `active_from` [lanes] where not
// null. Both sources may be mapped host memory.
template <class T>
cudaError_t Scatter(const T* from, Slot slot, uint32_t width, const uint8_t* active_from,
                    uint8_t* active_to, const Frames<T>& frames, cudaStream_t stream);

// to[lane][i] = frame[slot + i], i < width. `to` may be mapped host memory.
template <class T>
cudaError_t Gather(const Frames<T>& frames, Slot slot, uint32_t width, T* to, cudaStream_t stream);

}  // namespace xst::kernels::cuda
