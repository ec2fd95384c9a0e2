#include "kernels/cuda/lane.cuh"
#include "kernels/cuda/launch.h"

namespace xst::kernels::cuda {
namespace {

// A block a head.
template <class T>
__global__ void MlstmOutKernel(MlstmOut o, Frames<T> frames) {
  __shared__ T scratch[33];
  const Part part = PartOf(o.heads);
  T* frame = ActiveFrame(frames, part.lane);
  if (!frame) return;
  const uint32_t at = part.index * o.dim;
  const T* h = frame + o.h + at;
  const Centering<T> center = Center(h, o.dim, T(o.eps), scratch);
  for (uint32_t i = threadIdx.x; i < o.dim; i += blockDim.x) {
    T s = center(h[i]) * (T(o.weight[at + i]) + T(o.weight_offset));
    if (o.bias) s += T(o.bias[at + i]);
    if (o.skip) s = MulAdd(static_cast<T>(o.skip[at + i]), frame[o.c + at + i], s);
    const T z = frame[o.z + at + i];
    frame[o.y + at + i] = s * (o.sigmoid ? Sigmoid(z) : Silu(z));
  }
}

}  // namespace

template <class T>
cudaError_t Launch(const MlstmOut& o, const Frames<T>& frames, cudaStream_t stream) {
  MlstmOutKernel<<<frames.lanes * o.heads, ThreadsFor(o.dim), 0, stream>>>(o, frames);
  return cudaGetLastError();
}
template cudaError_t Launch(const MlstmOut&, const Frames<float>&, cudaStream_t);
template cudaError_t Launch(const MlstmOut&, const Frames<double>&, cudaStream_t);

}  // namespace xst::kernels::cuda
