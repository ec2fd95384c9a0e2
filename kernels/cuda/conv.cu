#include "kernels/cuda/lane.cuh"
#include "kernels/cuda/launch.h"

namespace xst::kernels::cuda {
namespace {

// A thread a channel.
template <class T>
__global__ void ConvKernel(Conv o, Frames<T> frames, uint32_t parts) {
  const Part part = PartOf(parts);
  const uint32_t c = part.index * blockDim.x + threadIdx.x;
  T* frame = ActiveFrame(frames, part.lane);
  if (!frame || c >= o.channels) return;
  T* history = frame + o.history + c;
  T sum = 0;
  for (uint32_t j = 0; j + 1 < o.kernel; ++j) {
    const T s = history[size_t{j} * o.stride];
    sum = MulAdd(s, static_cast<T>(o.weight[j * o.stride + c]), sum);
    if (j > 0) history[size_t{j - 1} * o.stride] = s;
  }
  const T now = frame[o.x + c];
  sum = MulAdd(now, static_cast<T>(o.weight[(o.kernel - 1) * o.stride + c]), sum);
  if (o.kernel > 1) history[size_t{o.kernel - 2} * o.stride] = Rounded(now);
  frame[o.y + c] = Silu(sum + T(o.bias[c]));
}

}  // namespace

template <class T>
cudaError_t Launch(const Conv& o, const Frames<T>& frames, cudaStream_t stream) {
  const uint32_t threads = ThreadsFor(o.channels), parts = (o.channels + threads - 1) / threads;
  ConvKernel<<<frames.lanes * parts, threads, 0, stream>>>(o, frames, parts);
  return cudaGetLastError();
}
template cudaError_t Launch(const Conv&, const Frames<float>&, cudaStream_t);
template cudaError_t Launch(const Conv&, const Frames<double>&, cudaStream_t);

}  // namespace xst::kernels::cuda
