// Every op for every lane of some frames, one kernel each: any shape, any slot, any weight type.
//
// Launchers enqueue on `stream`, which must be of the frames' device, allocate nothing, wait for
// nothing and may be captured into a graph. They return what the launch returned.
#pragma once

#include <cuda_runtime_api.h>

#include "kernels/cuda/frames.h"

namespace xst::kernels::cuda {

template <class T>
cudaError_t Launch(const Norm&, const Frames<T>&, cudaStream_t);
template <class T>
cudaError_t Launch(const Linear&, const Frames<T>&, cudaStream_t);
template <class T>
cudaError_t Launch(const BlockLinear&, const Frames<T>&, cudaStream_t);
template <class T>
cudaError_t Launch(const Conv&, const Frames<T>&, cudaStream_t);
template <class T>
cudaError_t Launch(const MlstmCell&, const Frames<T>&, cudaStream_t);
template <class T>
cudaError_t Launch(const MlstmOut&, const Frames<T>&, cudaStream_t);
template <class T>
cudaError_t Launch(const SlstmInput&, const Frames<T>&, cudaStream_t);
template <class T>
cudaError_t Launch(const SlstmCell&, const Frames<T>&, cudaStream_t);
template <class T>
cudaError_t Launch(const SlstmOut&, const Frames<T>&, cudaStream_t);
template <class T>
cudaError_t Launch(const GatedAct&, const Frames<T>&, cudaStream_t);
template <class T>
cudaError_t Launch(const Pointwise&, const Frames<T>&, cudaStream_t);
template <class T>
cudaError_t Launch(const Embed&, const Frames<T>&, cudaStream_t);

// A matrix in device memory as the file has it, to layout `rows`: `to` has rows *
// RowStride(dtype, cols) elements.
cudaError_t Repack(const Matrix& from, void* to, cudaStream_t stream);

}  // namespace xst::kernels::cuda
