#include "kernels/cuda/launch.h"

namespace xst::kernels::cuda {
namespace {

// Panels hold, for each 4-byte word of a row, the words of 16 rows beside each other.
__global__ void RepackPanels(const uint32_t* from, uint32_t* to, uint32_t rows, uint32_t words,
                             uint32_t stride) {
  const uint32_t row = blockIdx.x;
  for (uint32_t w = threadIdx.x; w < stride; w += blockDim.x) {
    to[size_t{row} * stride + w] =
        w < words ? from[(size_t{row / kUnit} * words + w) * kUnit + row % kUnit] : 0;
  }
}

}  // namespace

cudaError_t Repack(const Matrix& from, void* to, cudaStream_t stream) {
  const uint32_t size = SizeOf(from.dtype);
  const size_t bytes = RowStride(from.dtype, from.cols) * size;
  if (from.layout == Layout::rows) {
    return cudaMemcpyAsync(to, from.data, from.rows * bytes, cudaMemcpyDeviceToDevice, stream);
  }
  const uint32_t words = (from.cols * size + 3) / 4;
  RepackPanels<<<from.rows, 256, 0, stream>>>(static_cast<const uint32_t*>(from.data),
                                              static_cast<uint32_t*>(to), from.rows, words,
                                              static_cast<uint32_t>(bytes / 4));
  return cudaGetLastError();
}

}  // namespace xst::kernels::cuda
