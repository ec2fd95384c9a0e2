// What the kernel of linear_tokens.cuh is given, the shapes of its tiles, and the norm in front.
#pragma once

#include <cstdint>

#include "kernels/cuda/frames.h"
#include "kernels/cuda/math.cuh"

namespace xst::kernels::cuda {

struct TokenLinear {
  const void* weights;
  const float* scale;
  const float* bias;
  uint32_t rows, cols, row_stride;  // the stride in elements
  Slot x, y;
  bool accumulate;
  bool aligned_x;  // of every token, to 16 bytes
  // The norm in front, if the kernel has one.
  const float* norm_weight;
  const float* norm_bias;
  float norm_offset, eps;
  bool center;
  // Behind it, if half != 0: rows [0, half) are gates, [half, 2 half) linear.
  uint32_t half;
  Activation act;
};

// A block computes kTokens x kRows, a warp kWarpTokens x kWarpRows of it, kSplit warps the same
// over their shares of the columns. kDepth columns and kStages of them are in shared memory at a
// time, kBlocks blocks on a multiprocessor.
template <int kTokens_, int kRows_, int kWarpTokens_, int kWarpRows_, int kSplit_, int kDepth_,
          int kStages_, int kBlocks_>
struct TokenTile {
  static constexpr int kTokens = kTokens_, kRows = kRows_, kWarpTokens = kWarpTokens_,
                       kWarpRows = kWarpRows_, kSplit = kSplit_, kDepth = kDepth_,
                       kStages = kStages_, kBlocks = kBlocks_;
  static constexpr int kWarps = kTokens / kWarpTokens * (kRows / kWarpRows) * kSplit;
  static constexpr int kThreads = kWarps * 32;
  // Of a thread. Where they are few, what they need is read early.
  static constexpr int kOutputs = kTokens * kRows / kThreads;
  static constexpr bool kEarly = kOutputs <= 4;
  static constexpr int kBatch = kOutputs < 8 ? kOutputs : 8;  // read before any of them is written
  // Between tokens of the warps' sums: neighbouring tokens meet different banks.
  static constexpr int kSumStride = kRows + 8;
  static constexpr size_t kSumBytes = size_t{4} * kSplit * kTokens * kSumStride;
  // 16 elements more than the depth: a quarter warp's 16-byte reads then meet all banks.
  static constexpr int kStride = kDepth + 16;
  __host__ __device__ static constexpr size_t RowsBytes(size_t element) {
    return element * kStages * kRows * kStride;
  }
  // Elements from token to token of the resident x.
  __host__ __device__ static constexpr uint32_t ResidentStride(uint32_t cols) {
    return (cols + kDepth - 1) / kDepth * kDepth + 16;
  }
  // Of x, and of the norm's scale and bias.
  __host__ __device__ static constexpr size_t TokensBytes(bool resident, uint32_t cols) {
    return resident ? size_t{4} * (kTokens * ResidentStride(cols) + 2 * cols)
                    : size_t{4} * kStages * kTokens * kStride;
  }
};

// One token's row in shared memory, by kThreads threads that lie together, kWide columns (a divisor
// of theirs) at a time. Loops that stay loops: at a few columns a thread, code that has to be
// fetched costs more than a second look at shared memory.
template <int kThreads, int kWide>
__device__ void NormaliseBy(const TokenLinear& p, float* row, const float* scale,
                            const float* bias) {
  struct alignas(4 * kWide) Group {
    float v[kWide];
  };
  constexpr uint32_t kStep = kThreads * kWide;
  const auto at = [](const float* from) { return *reinterpret_cast<const Group*>(from); };
  const uint32_t begin = threadIdx.x % kThreads * kWide, cols = p.cols;
  const float count = static_cast<float>(cols), first = p.center ? row[0] : 0;
  float mean = 0, squares = 0;
  if (p.center) {
#pragma unroll 1
    for (uint32_t i = begin; i < cols; i += kStep) {
      const Group x = at(row + i);
#pragma unroll
      for (int j = 0; j < kWide; ++j) mean += x.v[j] - first;
    }
    mean = SumOver<kThreads>(mean) / count;
  }
#pragma unroll 1
  for (uint32_t i = begin; i < cols; i += kStep) {
    const Group x = at(row + i);
#pragma unroll
    for (int j = 0; j < kWide; ++j) {
      const float d = x.v[j] - first - mean;
      squares = fmaf(d, d, squares);
    }
  }
  const float r = 1.0f / sqrtf(SumOver<kThreads>(squares) / count + p.eps);
  __syncwarp();  // every thread has read row[0]
#pragma unroll 1
  for (uint32_t i = begin; i < cols; i += kStep) {
    Group x = at(row + i);
    const Group s = at(scale + i), b = at(bias + i);
#pragma unroll
    for (int j = 0; j < kWide; ++j) x.v[j] = fmaf((x.v[j] - first - mean) * r, s.v[j], b.v[j]);
    *reinterpret_cast<Group*>(row + i) = x;
  }
}

template <int kThreads>
__device__ void NormaliseRow(const TokenLinear& p, float* row, const float* scale,
                             const float* bias) {
  if (p.cols % 4 == 0) {  // and everything 16-byte aligned
    NormaliseBy<kThreads, 4>(p, row, scale, bias);
  } else {
    NormaliseBy<kThreads, 1>(p, row, scale, bias);
  }
}

}  // namespace xst::kernels::cuda
