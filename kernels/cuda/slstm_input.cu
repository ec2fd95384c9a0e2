#include <type_traits>

#include "kernels/cuda/dot.cuh"
#include "kernels/cuda/lane.cuh"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/shared_memory.h"
#include "kernels/cuda/slstm_input_tokens.cuh"

namespace xst::kernels::cuda {
namespace {

constexpr uint32_t kWarps = 8;

// A warp a row of W, which is [unit][gate][16 channels].
template <class W, class T>
__global__ void __launch_bounds__(32 * kWarps)
    SlstmInputKernel(SlstmInput o, Frames<T> frames, uint32_t parts) {
  const Part part = PartOf(parts);
  const uint32_t row = part.index * kWarps + threadIdx.x / 32;
  T* frame = ActiveFrame(frames, part.lane);
  if (!frame || row >= o.w.rows) return;
  const uint32_t gate = row / kUnit % 4, channel = row / (4 * kUnit) * kUnit + row % kUnit;
  T v = 0;
  if (channel < o.channels) {
    const T* x = frame + (gate < 2 ? o.conv : o.u) + channel / o.dim * o.dim;
    const auto* w = static_cast<const typename W::Element*>(o.w.data);
    v = WarpDot<W>(w + row * RowStride(o.w.dtype, o.dim), W::kScaled ? o.w.scale[row] : 1, x,
                   o.dim);
  }
  if (threadIdx.x % 32 == 0) frame[o.wx + row] = v;
}

// From so many tokens on their tiles reuse the weights.
constexpr uint32_t kManyTokens = 16;
constexpr size_t kMostShared = 96 * 1024;

cudaError_t LaunchTokens(const SlstmInput& o, const Frames<float>& tokens, cudaStream_t stream) {
  const uint32_t units = UnitsOf(o.channels), tiles = (tokens.lanes + kInputTile - 1) / kInputTile;
  const size_t bytes = InputBytes(o.dim);
  cudaError_t error = cudaSuccess;
  WithWeights(o.w.dtype, [&](auto type) {
    const auto kernel = SlstmInputTokensKernel<decltype(type)>;
    error = AllowShared(kernel, bytes);
    if (error == cudaSuccess) {
      kernel<<<units * tiles, kInputThreads, bytes, stream>>>(o, tokens, units);
    }
  });
  return error == cudaSuccess ? cudaGetLastError() : error;
}

}  // namespace

template <class T>
cudaError_t Launch(const SlstmInput& o, const Frames<T>& frames, cudaStream_t stream) {
  if constexpr (std::is_same_v<T, float>) {
    if (frames.lanes >= kManyTokens && InputBytes(o.dim) <= kMostShared) {
      return LaunchTokens(o, frames, stream);
    }
  }
  const uint32_t parts = (o.w.rows + kWarps - 1) / kWarps;
  WithWeights(o.w.dtype, [&](auto type) {
    SlstmInputKernel<decltype(type)>
        <<<frames.lanes * parts, 32 * kWarps, 0, stream>>>(o, frames, parts);
  });
  return cudaGetLastError();
}
template cudaError_t Launch(const SlstmInput&, const Frames<float>&, cudaStream_t);
template cudaError_t Launch(const SlstmInput&, const Frames<double>&, cudaStream_t);

}  // namespace xst::kernels::cuda
