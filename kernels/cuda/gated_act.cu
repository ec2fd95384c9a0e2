#include "kernels/cuda/activation.cuh"
#include "kernels/cuda/lane.cuh"
#include "kernels/cuda/launch.h"

namespace xst::kernels::cuda {
namespace {

template <class T>
__global__ void GatedActKernel(GatedAct o, Frames<T> frames, uint32_t parts) {
  const Part part = PartOf(parts);
  const uint32_t i = part.index * blockDim.x + threadIdx.x;
  T* frame = ActiveFrame(frames, part.lane);
  if (!frame || i >= o.size) return;
  frame[o.y + i] = Activate(o.act, frame[o.gate + i]) * frame[o.linear + i];
}

}  // namespace

template <class T>
cudaError_t Launch(const GatedAct& o, const Frames<T>& frames, cudaStream_t stream) {
  const uint32_t threads = ThreadsFor(o.size), parts = (o.size + threads - 1) / threads;
  GatedActKernel<<<frames.lanes * parts, threads, 0, stream>>>(o, frames, parts);
  return cudaGetLastError();
}
template cudaError_t Launch(const GatedAct&, const Frames<float>&, cudaStream_t);
template cudaError_t Launch(const GatedAct&, const Frames<double>&, cudaStream_t);

}  // namespace xst::kernels::cuda
