#include "kernels/cuda/dot.cuh"
#include "kernels/cuda/lane.cuh"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/slstm_point.cuh"

namespace xst::kernels::cuda {
namespace {

constexpr uint32_t kWarps = 8;

// A warp a channel.
template <class W, class T>
__global__ void __launch_bounds__(32 * kWarps)
    SlstmCellKernel(SlstmCell o, Frames<T> frames, uint32_t parts) {
  const Part part = PartOf(parts);
  const uint32_t ch = part.index * kWarps + threadIdx.x / 32;
  T* frame = ActiveFrame(frames, part.lane);
  if (!frame || ch >= o.channels) return;
  const auto* w = static_cast<const typename W::Element*>(o.r.data);
  const T* y = frame + o.y + ch / o.dim * o.dim;
  T raw[4];
#pragma unroll
  for (uint32_t g = 0; g < 4; ++g) {
    const uint32_t row = ch / kUnit * 4 * kUnit + g * kUnit + ch % kUnit;
    raw[g] = frame[o.wx + row] +
             WarpDot<W>(w + row * RowStride(o.r.dtype, o.dim), W::kScaled ? o.r.scale[row] : 1, y,
                        o.dim) +
             T(o.bias[row]);
  }
  if (threadIdx.x % 32 != 0) return;
  SlstmState<T> s{frame[o.c + ch], o.lstm ? T(0) : frame[o.n + ch],
                  o.lstm ? T(0) : frame[o.m + ch]};
  frame[o.out + ch] = SlstmPoint(raw, o.forget_cap, o.lstm, &s);
  if (!o.lstm && sizeof(T) > sizeof(float)) {
    // The m of a snapshot is float; c and n follow it.
    const T kept = Rounded(s.m), rescale = exp(s.m - kept);
    s = {s.c * rescale, s.n * rescale, kept};
  }
  frame[o.c + ch] = Rounded(s.c);
  if (o.lstm) return;
  frame[o.n + ch] = Rounded(s.n);
  frame[o.m + ch] = Rounded(s.m);
}

}  // namespace

template <class T>
cudaError_t Launch(const SlstmCell& o, const Frames<T>& frames, cudaStream_t stream) {
  const uint32_t parts = (o.channels + kWarps - 1) / kWarps;
  WithWeights(o.r.dtype, [&](auto type) {
    SlstmCellKernel<decltype(type)>
        <<<frames.lanes * parts, 32 * kWarps, 0, stream>>>(o, frames, parts);
  });
  return cudaGetLastError();
}
template cudaError_t Launch(const SlstmCell&, const Frames<float>&, cudaStream_t);
template cudaError_t Launch(const SlstmCell&, const Frames<double>&, cudaStream_t);

}  // namespace xst::kernels::cuda
