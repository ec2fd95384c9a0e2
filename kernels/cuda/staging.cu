#include "kernels/cuda/staging.h"

#include <algorithm>

namespace xst::kernels::cuda {
namespace {

constexpr uint32_t kThreads = 256, kMaxBlocks = 1024;

template <class T>
__global__ void ScatterKernel(const T* from, Slot slot, uint32_t width, const uint8_t* active_from,
                              uint8_t* active_to, Frames<T> frames) {
  const size_t first = size_t{blockIdx.x} * blockDim.x + threadIdx.x;
  const size_t step = size_t{gridDim.x} * blockDim.x;
  for (size_t i = first; i < size_t{frames.lanes} * width; i += step) {
    frames.data[i / width * frames.stride + slot + i % width] = from[i];
  }
  if (!active_to) return;
  for (size_t i = first; i < frames.lanes; i += step) active_to[i] = active_from[i];
}

template <class T>
__global__ void GatherKernel(Frames<T> frames, Slot slot, uint32_t width, T* to) {
  const size_t step = size_t{gridDim.x} * blockDim.x;
  for (size_t i = size_t{blockIdx.x} * blockDim.x + threadIdx.x; i < size_t{frames.lanes} * width;
       i += step) {
    to[i] = frames.data[i / width * frames.stride + slot + i % width];
  }
}

uint32_t BlocksFor(size_t elements) {
  return static_cast<uint32_t>(std::min<size_t>((elements + kThreads - 1) / kThreads, kMaxBlocks));
}

}  // namespace

template <class T>
cudaError_t Scatter(const T* from, Slot slot, uint32_t width, const uint8_t* active_from,
                    uint8_t* active_to, const Frames<T>& frames, cudaStream_t stream) {
  ScatterKernel<<<BlocksFor(size_t{frames.lanes} * width), kThreads, 0, stream>>>(
      from, slot, width, active_from, active_to, frames);
  return cudaGetLastError();
}
template cudaError_t Scatter(const float*, Slot, uint32_t, const uint8_t*, uint8_t*,
                             const Frames<float>&, cudaStream_t);
template cudaError_t Scatter(const double*, Slot, uint32_t, const uint8_t*, uint8_t*,
                             const Frames<double>&, cudaStream_t);

template <class T>
cudaError_t Gather(const Frames<T>& frames, Slot slot, uint32_t width, T* to, cudaStream_t stream) {
  GatherKernel<<<BlocksFor(size_t{frames.lanes} * width), kThreads, 0, stream>>>(frames, slot,
                                                                                 width, to);
  return cudaGetLastError();
}
template cudaError_t Gather(const Frames<float>&, Slot, uint32_t, float*, cudaStream_t);
template cudaError_t Gather(const Frames<double>&, Slot, uint32_t, double*, cudaStream_t);

}  // namespace xst::kernels::cuda
