#include "kernels/cuda/lane.cuh"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/weights.cuh"

namespace xst::kernels::cuda {
namespace {

template <class W, class T>
__global__ void EmbedKernel(Embed o, Frames<T> frames, uint32_t parts) {
  const Part part = PartOf(parts);
  const uint32_t i = part.index * blockDim.x + threadIdx.x;
  T* frame = ActiveFrame(frames, part.lane);
  if (!frame || i >= o.table.cols) return;
  const auto row = static_cast<size_t>(frame[o.token]);
  const auto* w = static_cast<const typename W::Element*>(o.table.data);
  float v = W::Number(w[row * RowStride(o.table.dtype, o.table.cols) + i]);
  if constexpr (W::kScaled) v *= o.table.scale[row];
  frame[o.x + i] = v;
}

}  // namespace

template <class T>
cudaError_t Launch(const Embed& o, const Frames<T>& frames, cudaStream_t stream) {
  const uint32_t threads = ThreadsFor(o.table.cols);
  const uint32_t parts = (o.table.cols + threads - 1) / threads;
  WithWeights(o.table.dtype, [&](auto type) {
    EmbedKernel<decltype(type)><<<frames.lanes * parts, threads, 0, stream>>>(o, frames, parts);
  });
  return cudaGetLastError();
}
template cudaError_t Launch(const Embed&, const Frames<float>&, cudaStream_t);
template cudaError_t Launch(const Embed&, const Frames<double>&, cudaStream_t);

}  // namespace xst::kernels::cuda
