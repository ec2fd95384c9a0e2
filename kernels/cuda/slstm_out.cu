#include "kernels/cuda/lane.cuh"
#include "kernels/cuda/launch.h"

namespace xst::kernels::cuda {
namespace {

// A block a head.
template <class T>
__global__ void SlstmOutKernel(SlstmOut o, Frames<T> frames) {
  __shared__ T scratch[33];
  const Part part = PartOf(o.heads);
  T* frame = ActiveFrame(frames, part.lane);
  if (!frame) return;
  const uint32_t at = part.index * o.dim;
  const T* out = frame + o.out + at;
  const Centering<T> center = Center(out, o.dim, T(o.eps), scratch);
  for (uint32_t i = threadIdx.x; i < o.dim; i += blockDim.x) {
    const T normed = center(out[i]);
    frame[o.y + at + i] = Rounded(out[i]);
    frame[o.x + at + i] += o.weight ? normed * (T(1) + T(o.weight[at + i])) : normed;
  }
}

}  // namespace

template <class T>
cudaError_t Launch(const SlstmOut& o, const Frames<T>& frames, cudaStream_t stream) {
  SlstmOutKernel<<<frames.lanes * o.heads, ThreadsFor(o.dim), 0, stream>>>(o, frames);
  return cudaGetLastError();
}
template cudaError_t Launch(const SlstmOut&, const Frames<float>&, cudaStream_t);
template cudaError_t Launch(const SlstmOut&, const Frames<double>&, cudaStream_t);

}  // namespace xst::kernels::cuda
