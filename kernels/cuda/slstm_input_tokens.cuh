// The sLSTM's input products for many tokens: a block keeps the rows of 16 channels and goes
// through a tile of tokens.
#pragma once

#include "kernels/cuda/weights.cuh"

namespace xst::kernels::cuda {

inline constexpr uint32_t kInputTile = 32;         // tokens
inline constexpr uint32_t kInputRows = 4 * kUnit;  // of a unit
inline constexpr uint32_t kInputThreads = 256;
inline constexpr uint32_t kInputEach = kInputTile / (kInputThreads / kInputRows);  // of a thread

// Inputs that the heads of 16 channels read, at most.
inline constexpr uint32_t InputSpan(uint32_t dim) {
  return (kUnit + dim - 1) / dim * dim + (kUnit % dim != 0 && dim % kUnit != 0 ? dim : 0);
}
inline constexpr size_t InputBytes(uint32_t dim) {
  return (size_t{kInputRows} * dim + 2 * size_t{kInputTile} * InputSpan(dim)) * sizeof(float);
}

template <class W>
__global__ void __launch_bounds__(kInputThreads)
    SlstmInputTokensKernel(SlstmInput o, Frames<float> tokens, uint32_t units) {
  extern __shared__ float shared[];
  const uint32_t unit = blockIdx.x % units, first_token = blockIdx.x / units * kInputTile;
  const uint32_t dim = o.dim, span = InputSpan(dim);
  float* w = shared;                                // [dim][rows]
  float* x = w + kInputRows * dim;                  // [conv, u][token][span]
  const uint32_t first = unit * kUnit / dim * dim;  // input of the first head
  for (uint32_t i = threadIdx.x; i < kInputRows * dim; i += kInputThreads) {
    const uint32_t row = unit * kInputRows + i / dim;
    float v = W::Number(static_cast<const typename W::Element*>(
        o.w.data)[row * RowStride(o.w.dtype, dim) + i % dim]);
    if constexpr (W::kScaled) v *= o.w.scale[row];
    w[i % dim * kInputRows + i / dim] = v;
  }
  for (uint32_t i = threadIdx.x; i < 2 * kInputTile * span; i += kInputThreads) {
    const uint32_t column = first + i % span, token = first_token + i / span % kInputTile;
    const Slot slot = i < kInputTile * span ? o.conv : o.u;
    x[i] = column < o.channels && token < tokens.lanes
               ? tokens.data[token * tokens.stride + slot + column]
               : 0;
  }
  __syncthreads();
  const uint32_t row = threadIdx.x % kInputRows, gate = row / kUnit;
  const uint32_t channel = unit * kUnit + row % kUnit, group = threadIdx.x / kInputRows;
  const bool there = channel < o.channels;
  const float* mine = x + (gate < 2 ? 0 : kInputTile * span) + group * kInputEach * span +
                      (there ? channel / dim * dim - first : 0);
  float sum[kInputEach] = {};
#pragma unroll 4
  for (uint32_t k = 0; k < dim; ++k) {
    const float wk = w[k * kInputRows + row];
#pragma unroll
    for (uint32_t t = 0; t < kInputEach; ++t) sum[t] = fmaf(wk, mine[t * span + k], sum[t]);
  }
#pragma unroll
  for (uint32_t t = 0; t < kInputEach; ++t) {
    const uint32_t token = first_token + group * kInputEach + t;
    if (token >= tokens.lanes) break;
    tokens.data[token * tokens.stride + o.wx + unit * kInputRows + row] = there ? sum[t] : 0;
  }
}

}  // namespace xst::kernels::cuda
