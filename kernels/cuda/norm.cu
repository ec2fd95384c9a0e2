#include "kernels/cuda/lane.cuh"
#include "kernels/cuda/launch.h"

namespace xst::kernels::cuda {
namespace {

template <class T>
__global__ void NormKernel(Norm o, Frames<T> frames) {
  __shared__ T scratch[33];
  T* frame = ActiveFrame(frames, blockIdx.x);
  if (!frame) return;
  const T* x = frame + o.x;
  Centering<T> center{0, 0, 0};
  if (o.center) {
    center = Center(x, o.size, T(o.eps), scratch);
  } else {
    T squares = 0;
    for (uint32_t i = threadIdx.x; i < o.size; i += blockDim.x) {
      squares = MulAdd(x[i], x[i], squares);
    }
    center.scale = T(1) / sqrt(BlockSum(squares, scratch) / T(o.size) + T(o.eps));
  }
  for (uint32_t i = threadIdx.x; i < o.size; i += blockDim.x) {
    T y = center(x[i]);
    if (o.weight) y *= T(o.weight[i]) + T(o.weight_offset);
    if (o.bias) y += T(o.bias[i]);
    frame[o.y + i] = y;
  }
}

}  // namespace

template <class T>
cudaError_t Launch(const Norm& o, const Frames<T>& frames, cudaStream_t stream) {
  NormKernel<<<frames.lanes, ThreadsFor(o.size), 0, stream>>>(o, frames);
  return cudaGetLastError();
}
template cudaError_t Launch(const Norm&, const Frames<float>&, cudaStream_t);
template cudaError_t Launch(const Norm&, const Frames<double>&, cudaStream_t);

}  // namespace xst::kernels::cuda
