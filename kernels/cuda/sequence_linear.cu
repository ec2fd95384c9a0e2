#include "kernels/cuda/sequence_linear.h"

#include <algorithm>

#include "kernels/cuda/activation.cuh"
#include "kernels/cuda/chained_launch.cuh"
#include "kernels/cuda/copy_async.cuh"
#include "kernels/cuda/math.cuh"
#include "kernels/cuda/tf32.cuh"

namespace xst::kernels::cuda {
namespace {

// A block takes kTokens tokens through some tiles of kRows rows, kDepth columns of the matrix (and,
// without a norm, of x) at a time; with a norm x lies in shared memory as a whole, normalised once.
// A warp takes 32 tokens and 32 rows of a tile.
constexpr int kThreads = 256, kWarps = kThreads / 32;
constexpr uint32_t kTokens = 64, kRows = 128, kDepth = 32, kStages = 3;
constexpr uint32_t kStride = kDepth + 16;  // a quarter warp's 16-byte reads meet all banks
constexpr uint32_t kMostColumns = 256;     // of a norm
constexpr uint32_t kFours = kMostColumns / 128;
constexpr size_t kEnoughTokens = 6144;

struct Product {
  const void* weights;
  const float *scale, *bias, *norm_weight, *norm_bias;
  float norm_offset, eps;
  uint32_t rows, cols, row_stride;  // the stride in elements
  uint32_t half;                    // with gates: rows [0, half), and behind them the linear ones
  uint32_t tiles;                   // of rows, of a block
  Slot x, y;
  bool accumulate, center;
  Activation act;
};

__host__ __device__ inline uint32_t ResidentStride(uint32_t cols) {
  return (cols + kDepth - 1) / kDepth * kDepth + 16;
}

template <class W>
size_t SharedBytes(const Product& p, bool norm) {
  return size_t{kStages} * kRows * kStride * sizeof(typename W::Element) +
         sizeof(float) * kTokens * (norm ? ResidentStride(p.cols) : kStages * kStride);
}

__device__ inline float4& Four(float* at) { return *reinterpret_cast<float4*>(at); }
__device__ inline const float4& Four(const float* at) {
  return *reinterpret_cast<const float4*>(at);
}

// One token's x, normalised by a warp, zeros behind it.
__device__ inline void Normalise(const Product& p, const float* x, float* to) {
  const uint32_t begin = threadIdx.x % 32 * 4, end = ResidentStride(p.cols) - 16;
  float4 v[kFours];
#pragma unroll
  for (uint32_t i = 0; i < kFours; ++i) {
    v[i] = begin + i * 128 < p.cols ? Four(x + begin + i * 128) : float4{};
  }
  const float first = p.center ? __shfl_sync(0xffffffffu, v[0].x, 0) : 0;
  float sum = 0, squares = 0;
#pragma unroll
  for (uint32_t i = 0; i < kFours; ++i) {
    v[i] = {v[i].x - first, v[i].y - first, v[i].z - first, v[i].w - first};
    if (begin + i * 128 < p.cols) sum += (v[i].x + v[i].y) + (v[i].z + v[i].w);
  }
  const float count = static_cast<float>(p.cols);
  const float mean = p.center ? SumOver<32>(sum) / count : 0;
#pragma unroll
  for (uint32_t i = 0; i < kFours; ++i) {
    v[i] = {v[i].x - mean, v[i].y - mean, v[i].z - mean, v[i].w - mean};
    if (begin + i * 128 < p.cols) {
      squares = fmaf(v[i].x, v[i].x, fmaf(v[i].y, v[i].y, squares));
      squares = fmaf(v[i].z, v[i].z, fmaf(v[i].w, v[i].w, squares));
    }
  }
  const float r = 1 / sqrtf(SumOver<32>(squares) / count + p.eps);
#pragma unroll
  for (uint32_t i = 0; i < kFours; ++i) {
    const uint32_t at = begin + i * 128;
    if (at >= end) continue;
    float y[4] = {v[i].x * r, v[i].y * r, v[i].z * r, v[i].w * r};
#pragma unroll
    for (uint32_t j = 0; j < 4; ++j) {
      const bool there = at + j < p.cols;
      const float w = there && p.norm_weight ? p.norm_weight[at + j] + p.norm_offset : 1;
      const float b = there && p.norm_bias ? p.norm_bias[at + j] : 0;
      y[j] = there ? fmaf(y[j], w, b) : 0;
    }
    Four(to + at) = {y[0], y[1], y[2], y[3]};
  }
}

using Sums = float[2][4][4];  // of 16 tokens and 8 rows each, see sequence_mma.cuh

// total += 32 tokens by 32 rows over kDepth columns. a, b: what this thread reads first. Which
// columns meet in one product is free as long as both sides agree: thread t of four takes columns
// 4 t .. 4 t + 3 of 16, which it reads at once. The rows of two tiles lie so that a thread ends
// with four neighbours (or, with gates, with two and their gates).
template <class W, bool kGated>
__device__ void Multiply(const float* a, uint32_t a_stride, const typename W::Element* b,
                         Sums& total) {
  Sums sum = {};
#pragma unroll
  for (uint32_t s = 0; s < kDepth; s += 16) {
    uint32_t high[2][2][4], low[2][2][4];
#pragma unroll
    for (int m = 0; m < 2; ++m) {
      float u[4], v[4];
      Load4(a + m * 16 * a_stride + s, u);
      Load4(a + (m * 16 + 8) * a_stride + s, v);
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const Halves hu = Split(u[i]), hv = Split(v[i]);
        high[m][i / 2][i % 2 * 2] = hu.high, low[m][i / 2][i % 2 * 2] = hu.low;
        high[m][i / 2][i % 2 * 2 + 1] = hv.high, low[m][i / 2][i % 2 * 2 + 1] = hv.low;
      }
    }
#pragma unroll
    for (int n = 0; n < 4; ++n) {
      float w[4];
      Load4(b + (n / 2 * 16 + n % 2 * (kGated ? 8 : 2)) * kStride + s, w);
#pragma unroll
      for (int j = 0; j < 2; ++j) {
        Halves b0, b1;
        if constexpr (kExactWeights<W>) {
          b0.high = __float_as_uint(w[j * 2]), b1.high = __float_as_uint(w[j * 2 + 1]);
        } else {
          b0 = Split(w[j * 2]), b1 = Split(w[j * 2 + 1]);
        }
#pragma unroll
        for (int m = 0; m < 2; ++m) MultiplyAdd(sum[m][n], low[m][j], b0.high, b1.high);
        if constexpr (!kExactWeights<W>) {
#pragma unroll
          for (int m = 0; m < 2; ++m) MultiplyAdd(sum[m][n], high[m][j], b0.low, b1.low);
        }
#pragma unroll
        for (int m = 0; m < 2; ++m) MultiplyAdd(sum[m][n], high[m][j], b0.high, b1.high);
      }
    }
  }
  // The tensor core truncates its sums; this addition, once a step, rounds to nearest.
#pragma unroll
  for (int i = 0; i < 32; ++i) total[i / 16][i / 4 % 4][i % 4] += sum[i / 16][i / 4 % 4][i % 4];
}

template <class W, bool kNorm, bool kGated>
__global__ void __launch_bounds__(kThreads, 2)
    SequenceLinearKernel(const __grid_constant__ Product p, const __grid_constant__ Frames<float> f) {
  using Element = typename W::Element;
  extern __shared__ __align__(128) char shared_linear[];
  auto* const b = reinterpret_cast<Element*>(shared_linear);                // [stage][row][kStride]
  auto* const a = reinterpret_cast<float*>(b + kStages * kRows * kStride);  // [stage][token]...
  const uint32_t thread = threadIdx.x % 32, warp = threadIdx.x / 32;
  const uint32_t warp_row = warp % 4 * 32, warp_token = warp / 4 * 32;
  const uint32_t steps = (p.cols + kDepth - 1) / kDepth, first_tile = blockIdx.y * p.tiles;
  const uint32_t features = kGated ? p.half : p.rows, width = kGated ? kRows / 2 : kRows;
  const uint32_t last_tile = min(first_tile + p.tiles, (features + width - 1) / width);
  const uint32_t all = (last_tile - first_tile) * steps;
  const size_t first_token = size_t{blockIdx.x} * kTokens;
  const uint32_t a_stride = kNorm ? ResidentStride(p.cols) : kStride;

  const auto copy_rows = [&](uint32_t i) {
    constexpr uint32_t kEach = 16 / sizeof(Element), kAcross = kDepth / kEach;
    const uint32_t tile = first_tile + i / steps, col = i % steps * kDepth;
    Element* const to = b + i % kStages * kRows * kStride;
#pragma unroll
    for (uint32_t c = threadIdx.x; c < kRows * kAcross; c += kThreads) {
      const uint32_t n = c / kAcross, at = c % kAcross * kEach;
      uint32_t row = tile * kRows + n;
      bool there = row < p.rows;
      if constexpr (kGated) {
        const uint32_t feature = tile * width + n / 16 * 8 + n % 8;
        row = n / 8 % 2 * p.half + feature;
        there = feature < p.half;
      }
      there = there && col + at < p.row_stride;
      CopyAsync16(to + n * kStride + at,
                  static_cast<const Element*>(p.weights) +
                      (there ? size_t{row} * p.row_stride + col + at : 0),
                  there ? 16 : 0);
    }
  };
  const auto copy_tokens = [&](uint32_t i) {
    constexpr uint32_t kAcross = kDepth / 4;
    float* const to = a + i % kStages * kTokens * kStride;
#pragma unroll
    for (uint32_t c = threadIdx.x; c < kTokens * kAcross; c += kThreads) {
      const uint32_t token = c / kAcross, at = c % kAcross * 4, col = i % steps * kDepth + at;
      const bool there = first_token + token < f.lanes && col < p.cols;
      CopyAsync16(to + token * kStride + at,
                  f.data + p.x + (there ? (first_token + token) * f.stride + col : 0),
                  there ? 16 : 0);
    }
  };

  // Weights do not change: the first come in before the kernel in front has ended.
#pragma unroll
  for (uint32_t i = 0; i < kStages - 1; ++i) {
    if (i < all) copy_rows(i);
    if (kNorm) CommitCopies();
  }
  WaitForPredecessor();
  LetSuccessorStart();
  if constexpr (kNorm) {
#pragma unroll 4
    for (uint32_t token = warp; token < kTokens; token += kWarps) {
      const size_t at = min(first_token + token, size_t{f.lanes} - 1);
      Normalise(p, f.data + at * f.stride + p.x, a + token * a_stride);
    }
  } else {
#pragma unroll
    for (uint32_t i = 0; i < kStages - 1; ++i) {
      if (i < all) copy_tokens(i);
      CommitCopies();
    }
  }

  const float* const my_a = a + (warp_token + thread / 4) * a_stride + thread % 4 * 4;
  const uint32_t j = thread / 4;
  const Element* const my_b =
      b + (warp_row + (kGated ? j : j / 2 * 4 + j % 2)) * kStride + thread % 4 * 4;
  uint32_t i = 0;
#pragma unroll 1
  for (uint32_t tile = first_tile; tile < last_tile; ++tile) {
    Sums total = {};
#pragma unroll 1
    for (uint32_t k = 0; k < steps; ++k, ++i) {
      WaitCopies<kStages - 2>();
      __syncthreads();
      if (i + kStages - 1 < all) {
        copy_rows(i + kStages - 1);
        if constexpr (!kNorm) copy_tokens(i + kStages - 1);
      }
      CommitCopies();
      const uint32_t stage = i % kStages;
      Multiply<W, kGated>(kNorm ? my_a + k * kDepth : my_a + stage * kTokens * kStride, a_stride,
                          my_b + stage * kRows * kStride, total);
    }

#pragma unroll
    for (int q = 0; q < 2; ++q) {
      // This thread's four rows, or two features.
      const uint32_t row = kGated ? tile * width + warp_row / 2 + q * 8 + thread % 4 * 2
                                  : tile * width + warp_row + q * 16 + thread % 4 * 4;
      if (row >= features) continue;
      float scale[4], bias[4];
#pragma unroll
      for (uint32_t c = 0; c < 4; ++c) {
        const uint32_t at = kGated ? row + c % 2 + c / 2 * p.half : row + c;
        scale[c] = W::kScaled ? p.scale[at] : 1;
        bias[c] = p.bias ? p.bias[at] : 0;
      }
#pragma unroll
      for (int m = 0; m < 2; ++m) {
#pragma unroll
        for (int e = 0; e < 2; ++e) {
          const size_t token = first_token + warp_token + m * 16 + e * 8 + thread / 4;
          if (token >= f.lanes) continue;
          float* const y = f.data + token * f.stride + p.y + row;
          float v[4];
#pragma unroll
          for (int c = 0; c < 4; ++c) {
            v[c] = total[m][2 * q + c / 2][2 * e + c % 2];
            if constexpr (W::kScaled) v[c] *= scale[c];
            v[c] += bias[c];
          }
          if constexpr (kGated) {
            *reinterpret_cast<float2*>(y) = {Activate(p.act, v[0]) * v[2],
                                             Activate(p.act, v[1]) * v[3]};
          } else {
            const float4 old = p.accumulate ? Four(y) : float4{};
            Four(y) = {old.x + v[0], old.y + v[1], old.z + v[2], old.w + v[3]};
          }
        }
      }
    }
  }
}

template <class W>
cudaError_t Launch(Product p, bool norm, bool gated, const Frames<float>& tokens,
                   cudaStream_t stream) {
  const uint32_t width = gated ? kRows / 2 : kRows, features = gated ? p.half : p.rows;
  const uint32_t tiles = (features + width - 1) / width;
  const uint32_t blocks = (tokens.lanes + kTokens - 1) / kTokens;
  constexpr uint32_t kFull = 200;  // blocks: nearly two on every multiprocessor of a large device
  const uint32_t parts = std::min(tiles, (kFull + blocks - 1) / blocks);
  p.tiles = (tiles + parts - 1) / parts;
  const auto kernel = gated  ? SequenceLinearKernel<W, true, true>
                      : norm ? SequenceLinearKernel<W, true, false>
                             : SequenceLinearKernel<W, false, false>;
  return LaunchChained(kernel, dim3(blocks, (tiles + p.tiles - 1) / p.tiles), kThreads,
                       SharedBytes<W>(p, norm), stream, p, tokens);
}

}  // namespace

bool FitsSequence(const Norm* norm, const Linear& l, const GatedAct* act,
                  const Frames<float>& tokens) {
  const auto aligned = [&](Slot at) {
    return reinterpret_cast<uintptr_t>(tokens.data + at) % 16 == 0;
  };
  if (tokens.lanes < kEnoughTokens || tokens.stride % 4 != 0 || l.w.layout != Layout::rows ||
      l.w.cols % 4 != 0 || l.w.rows % 8 != 0 || l.w.rows < kRows / 2) {
    return false;
  }
  if (norm ? norm->size != l.w.cols || norm->y != l.x || norm->size > kMostColumns ||
                 !aligned(norm->x)
           : !aligned(l.x)) {
    return false;
  }
  if (act && (!norm || l.w.rows != 2 * act->size || act->gate != l.y ||
              act->linear != l.y + act->size || l.accumulate)) {
    return false;
  }
  Product p = {};
  p.cols = l.w.cols;
  return aligned(act ? act->y : l.y) && SharedBytes<WeightF32>(p, norm) <= SharedLimit();
}

cudaError_t LaunchSequence(const Norm* norm, const Linear& l, const GatedAct* act,
                           const Frames<float>& tokens, cudaStream_t stream) {
  Product p = {};
  p.weights = l.w.data;
  p.scale = l.w.scale;
  p.bias = l.bias;
  p.rows = l.w.rows;
  p.cols = l.w.cols;
  p.row_stride = static_cast<uint32_t>(RowStride(l.w.dtype, l.w.cols));
  p.x = norm ? norm->x : l.x;
  p.y = act ? act->y : l.y;
  p.accumulate = l.accumulate;
  if (norm) {
    p.norm_weight = norm->weight;
    p.norm_bias = norm->bias;
    p.norm_offset = norm->weight_offset;
    p.eps = norm->eps;
    p.center = norm->center;
  }
  if (act) {
    p.half = act->size;
    p.act = act->act;
  }
  cudaError_t error = cudaErrorInvalidValue;
  WithWeights(l.w.dtype, [&](auto w) {
    error = Launch<decltype(w)>(p, norm != nullptr, act != nullptr, tokens, stream);
  });
  return error;
}

}  // namespace xst::kernels::cuda
