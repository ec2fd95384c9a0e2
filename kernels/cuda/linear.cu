#include "kernels/cuda/dot.cuh"
#include "kernels/cuda/lane.cuh"
#include "kernels/cuda/launch.h"

namespace xst::kernels::cuda {
namespace {

constexpr uint32_t kWarps = 8;

// A warp a row.
template <class W, class T>
__global__ void __launch_bounds__(32 * kWarps)
    LinearKernel(Linear o, Frames<T> frames, uint32_t parts) {
  const Part part = PartOf(parts);
  const uint32_t row = part.index * kWarps + threadIdx.x / 32;
  T* frame = ActiveFrame(frames, part.lane);
  if (!frame || row >= o.w.rows) return;
  const auto* w = static_cast<const typename W::Element*>(o.w.data);
  T v = WarpDot<W>(w + row * RowStride(o.w.dtype, o.w.cols), W::kScaled ? o.w.scale[row] : 1,
                   frame + o.x, o.w.cols);
  if (threadIdx.x % 32 != 0) return;
  if (o.bias) v += T(o.bias[row]);
  T& y = frame[o.y + row];
  y = o.accumulate ? y + v : v;
}

}  // namespace

template <class T>
cudaError_t Launch(const Linear& o, const Frames<T>& frames, cudaStream_t stream) {
  const uint32_t parts = (o.w.rows + kWarps - 1) / kWarps;
  WithWeights(o.w.dtype, [&](auto type) {
    LinearKernel<decltype(type)>
        <<<frames.lanes * parts, 32 * kWarps, 0, stream>>>(o, frames, parts);
  });
  return cudaGetLastError();
}
template cudaError_t Launch(const Linear&, const Frames<float>&, cudaStream_t);
template cudaError_t Launch(const Linear&, const Frames<double>&, cudaStream_t);

}  // namespace xst::kernels::cuda
