#include "kernels/cuda/lane.cuh"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/weights.cuh"

namespace xst::kernels::cuda {
namespace {

// A thread a row: blocks are short.
template <class W, class T>
__global__ void BlockLinearKernel(BlockLinear o, Frames<T> frames, uint32_t parts) {
  const Part part = PartOf(parts);
  const uint32_t row = part.index * blockDim.x + threadIdx.x;
  T* frame = ActiveFrame(frames, part.lane);
  if (!frame || row >= o.w.rows) return;
  const auto* w =
      static_cast<const typename W::Element*>(o.w.data) + row * RowStride(o.w.dtype, o.w.cols);
  const float scale = W::kScaled ? o.w.scale[row] : 1;
  const T* x = frame + o.x + row / o.w.cols * o.w.cols;
  T sum = 0;
  for (uint32_t k = 0; k < o.w.cols; ++k) {
    float v = W::Number(w[k]);
    if constexpr (W::kScaled) v *= scale;
    sum = MulAdd(static_cast<T>(v), x[k], sum);
  }
  if (o.bias) sum += T(o.bias[row]);
  frame[o.y + row] = sum;
}

}  // namespace

template <class T>
cudaError_t Launch(const BlockLinear& o, const Frames<T>& frames, cudaStream_t stream) {
  const uint32_t threads = ThreadsFor(o.w.rows), parts = (o.w.rows + threads - 1) / threads;
  WithWeights(o.w.dtype, [&](auto type) {
    BlockLinearKernel<decltype(type)>
        <<<frames.lanes * parts, threads, 0, stream>>>(o, frames, parts);
  });
  return cudaGetLastError();
}
template cudaError_t Launch(const BlockLinear&, const Frames<float>&, cudaStream_t);
template cudaError_t Launch(const BlockLinear&, const Frames<double>&, cudaStream_t);

}  // namespace xst::kernels::cuda
