// The kernel of linear_tokens.h: one block computes a tile of tokens x rows. The matrix (and,
// without a norm, x) comes through shared memory in steps of kDepth columns; with a norm the whole
// rows of x lie there, normalised once.
#pragma once

#include <cstdint>

#include "kernels/cuda/activation.cuh"
#include "kernels/cuda/chained_launch.cuh"
#include "kernels/cuda/copy_async.cuh"
#include "kernels/cuda/tf32.cuh"
#include "kernels/cuda/token_tile.cuh"

namespace xst::kernels::cuda {

template <class W, class Tile, bool kNorm>
class TokenBlock {
 public:
  using Element = typename W::Element;
  static constexpr int kTokenTiles = Tile::kWarpTokens / 16, kRowTiles = Tile::kWarpRows / 8;
  static_assert(kRowTiles % 2 == 0, "a warp holds a gate with its linear row");

  __device__ TokenBlock(const TokenLinear& p, const Frames<float>& f, char* shared)
      : p_(p),
        f_(f),
        b_(reinterpret_cast<Element*>(shared)),
        a_(reinterpret_cast<float*>(shared + Tile::RowsBytes(sizeof(Element)))),
        a_stride_(kNorm ? Tile::ResidentStride(p.cols) : Tile::kStride),
        scale_(a_ + Tile::kTokens * a_stride_),
        first_token_(size_t{blockIdx.x} * Tile::kTokens),
        lane_(threadIdx.x % 32) {
    constexpr uint32_t kAcross = Tile::kRows / Tile::kWarpRows;
    const uint32_t warp = threadIdx.x / 32;
    split_ = warp % Tile::kSplit;
    warp_row_ = warp / Tile::kSplit % kAcross * Tile::kWarpRows;
    warp_token_ = warp / Tile::kSplit / kAcross * Tile::kWarpTokens;
  }

  __device__ void Run() {
    const uint32_t steps = (p_.cols + Tile::kDepth - 1) / Tile::kDepth;
    // Weights do not change: their first stages come in before the kernel in front has ended.
#pragma unroll
    for (int s = 0; s < Tile::kStages - 1; ++s) CopyRows(s, s);
    if constexpr (kNorm) {
      for (uint32_t i = threadIdx.x; i < p_.cols; i += Tile::kThreads) {
        scale_[i] = p_.norm_weight ? p_.norm_weight[i] + p_.norm_offset : 1;
        scale_[p_.cols + i] = p_.norm_bias ? p_.norm_bias[i] : 0;
      }
    }
    if constexpr (Tile::kEarly) FetchWeights(0);
    WaitForPredecessor();
    LetSuccessorStart();
    if constexpr (kNorm) {
      CopyResident();
      CommitCopies();
#pragma unroll
      for (int s = 1; s < Tile::kStages - 1; ++s) CommitCopies();
    } else {
#pragma unroll
      for (int s = 0; s < Tile::kStages - 1; ++s) {
        CopyTokens(s, s);
        CommitCopies();
      }
    }
    if constexpr (Tile::kEarly) FetchY(0);
    if constexpr (kNorm) {
      constexpr int kEach = 16;
      WaitCopies<0>();
      __syncthreads();
      for (uint32_t t = threadIdx.x / kEach; t < Tile::kTokens; t += Tile::kThreads / kEach) {
        NormaliseRow<kEach>(p_, a_ + t * a_stride_, scale_, scale_ + p_.cols);
      }
    }
    for (uint32_t k = 0; k < steps; ++k) {
      WaitCopies<Tile::kStages - 2>();
      __syncthreads();
      const uint32_t next = k + Tile::kStages - 1;
      if (next < steps) {
        CopyRows(next % Tile::kStages, next);
        if constexpr (!kNorm) CopyTokens(next % Tile::kStages, next);
      }
      CommitCopies();
      const uint32_t stage = k % Tile::kStages;
      Multiply(kNorm ? a_ + k * Tile::kDepth : a_ + stage * Tile::kTokens * Tile::kStride,
               b_ + stage * Tile::kRows * Tile::kStride);
    }
    Store();
  }

 private:
  // The matrix row of the tile's row n, or p.rows.
  __device__ uint32_t RowOf(uint32_t n) const {
    if (p_.half == 0) return min(blockIdx.y * Tile::kRows + n, p_.rows);
    const uint32_t feature = blockIdx.y * (Tile::kRows / 2) + n / 16 * 8 + n % 8;
    return feature < p_.half ? n / 8 % 2 * p_.half + feature : p_.rows;
  }

  __device__ void CopyRows(uint32_t stage, uint32_t step) {
    constexpr uint32_t kEach = 16 / sizeof(Element), kAcross = Tile::kDepth / kEach;
    const Element* const w = static_cast<const Element*>(p_.weights);
    Element* const to = b_ + stage * Tile::kRows * Tile::kStride;
#pragma unroll
    for (uint32_t i = threadIdx.x; i < Tile::kRows * kAcross; i += Tile::kThreads) {
      const uint32_t n = i / kAcross, at = i % kAcross * kEach, row = RowOf(n);
      const uint32_t col = step * Tile::kDepth + at;
      const bool there = row < p_.rows && col < p_.row_stride;
      CopyAsync16(to + n * Tile::kStride + at, there ? w + size_t{row} * p_.row_stride + col : w,
                  there ? 16 : 0);
    }
  }

  // x of one token, columns [col, col + 4), to `to`; zeros beyond the last token and column.
  __device__ void CopyX(float* to, uint32_t token, uint32_t col) {
    const bool there = first_token_ + token < f_.lanes && col < p_.cols;
    const float* const from =
        f_.data + p_.x + (there ? (first_token_ + token) * f_.stride + col : 0);
    const uint32_t left = there ? min(p_.cols - col, 4u) : 0;
    if (p_.aligned_x) {
      CopyAsync16(to, from, left * 4);
    } else {
#pragma unroll
      for (uint32_t j = 0; j < 4; ++j)
        CopyAsync4(to + j, j < left ? from + j : from, j < left ? 4 : 0);
    }
  }
  __device__ void CopyTokens(uint32_t stage, uint32_t step) {
    constexpr uint32_t kAcross = Tile::kDepth / 4;
    float* const to = a_ + stage * Tile::kTokens * Tile::kStride;
#pragma unroll
    for (uint32_t i = threadIdx.x; i < Tile::kTokens * kAcross; i += Tile::kThreads) {
      const uint32_t token = i / kAcross, at = i % kAcross * 4;
      CopyX(to + token * Tile::kStride + at, token, step * Tile::kDepth + at);
    }
  }
  __device__ void CopyResident() {
    const uint32_t across = (a_stride_ - 16) / 4;
    for (uint32_t token = threadIdx.x / 32; token < Tile::kTokens; token += Tile::kWarps) {
      for (uint32_t i = lane_; i < across; i += 32) {
        CopyX(a_ + token * a_stride_ + i * 4, token, i * 4);
      }
    }
  }

  // Which columns meet in one product is free as long as both sides agree: thread t of four takes
  // columns 4 t .. 4 t + 3 of 16, which it reads at once.
  __device__ void Multiply(const float* a, const Element* b) {
    float sum[kTokenTiles][kRowTiles][4] = {};
    a += (warp_token_ + lane_ / 4) * a_stride_ + lane_ % 4 * 4;
    b += (warp_row_ + lane_ / 4) * Tile::kStride + lane_ % 4 * 4;
#pragma unroll
    for (int s0 = 0; s0 < Tile::kDepth / 16; s0 += Tile::kSplit) {
      const uint32_t s = (s0 + split_) * 16;
      uint32_t high[kTokenTiles][2][4], low[kTokenTiles][2][4];
#pragma unroll
      for (int m = 0; m < kTokenTiles; ++m) {
        float u[4], v[4];
        Load4(a + m * 16 * a_stride_ + s, u);
        Load4(a + (m * 16 + 8) * a_stride_ + s, v);
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          const Halves hu = Split(u[i]), hv = Split(v[i]);
          high[m][i / 2][i % 2 * 2] = hu.high, low[m][i / 2][i % 2 * 2] = hu.low;
          high[m][i / 2][i % 2 * 2 + 1] = hv.high, low[m][i / 2][i % 2 * 2 + 1] = hv.low;
        }
      }
#pragma unroll
      for (int n = 0; n < kRowTiles; ++n) {
        float w[4];
        Load4(b + n * 8 * Tile::kStride + s, w);
#pragma unroll
        for (int j = 0; j < 2; ++j) {
          if constexpr (kExactWeights<W>) {
            const uint32_t b0 = __float_as_uint(w[j * 2]), b1 = __float_as_uint(w[j * 2 + 1]);
#pragma unroll
            for (int m = 0; m < kTokenTiles; ++m) MultiplyAdd(sum[m][n], low[m][j], b0, b1);
#pragma unroll
            for (int m = 0; m < kTokenTiles; ++m) MultiplyAdd(sum[m][n], high[m][j], b0, b1);
          } else {
            const Halves b0 = Split(w[j * 2]), b1 = Split(w[j * 2 + 1]);
#pragma unroll
            for (int m = 0; m < kTokenTiles; ++m) {
              MultiplyAdd(sum[m][n], low[m][j], b0.high, b1.high);
            }
#pragma unroll
            for (int m = 0; m < kTokenTiles; ++m) {
              MultiplyAdd(sum[m][n], high[m][j], b0.low, b1.low);
            }
#pragma unroll
            for (int m = 0; m < kTokenTiles; ++m) {
              MultiplyAdd(sum[m][n], high[m][j], b0.high, b1.high);
            }
          }
        }
      }
    }
    // The tensor core truncates its sums; this addition, once a step, rounds to nearest.
#pragma unroll
    for (int m = 0; m < kTokenTiles; ++m) {
#pragma unroll
      for (int n = 0; n < kRowTiles; ++n) {
#pragma unroll
        for (int i = 0; i < 4; ++i) total_[m][n][i] += sum[m][n][i];
      }
    }
  }

  // f(o, token, n, row) for every output of the batch at `from` that exists: row n of the tile, or
  // with gates the n-th gate.
  template <class F>
  __device__ void EachOutput(int from, const F& f) const {
    const uint32_t shift = AcrossShift(), across = 1u << shift;
    const uint32_t rows = p_.half != 0 ? p_.half : p_.rows;
#pragma unroll
    for (int o = 0; o < Tile::kBatch; ++o) {
      const uint32_t i = threadIdx.x + (from + o) * Tile::kThreads, n = i & (across - 1);
      const size_t token = first_token_ + (i >> shift);
      const uint32_t row = (blockIdx.y << shift) + n;
      if (i >> shift < Tile::kTokens && token < f_.lanes && row < rows) f(o, token, n, row);
    }
  }
  // Outputs of a token in a tile, as a power of two.
  __device__ uint32_t AcrossShift() const {
    constexpr uint32_t kShift = Tile::kRows == 128  ? 7
                                : Tile::kRows == 64 ? 6
                                : Tile::kRows == 32 ? 5
                                                    : 4;
    static_assert(1 << kShift == Tile::kRows);
    return p_.half != 0 ? kShift - 1 : kShift;
  }
  __device__ void FetchWeights(int from) {
    EachOutput(from, [&](int o, size_t, uint32_t, uint32_t row) {
      if constexpr (W::kScaled) row_scale_[o] = p_.scale[row];
      row_bias_[o] = p_.bias ? p_.bias[row] : 0;
    });
  }
  __device__ void FetchY(int from) {
    EachOutput(from, [&](int o, size_t token, uint32_t, uint32_t row) {
      before_[o] = p_.accumulate ? YOf(token)[row] : 0;
    });
  }

  // Through shared memory, so that the warps that split the columns are added (in order), a gate
  // meets its linear row and neighbouring threads store neighbouring rows.
  __device__ void Store() {
    float* const sums = reinterpret_cast<float*>(b_);  // [split][token][kSumStride]
    WaitCopies<0>();
    __syncthreads();
#pragma unroll
    for (int m = 0; m < kTokenTiles; ++m) {
#pragma unroll
      for (int n = 0; n < kRowTiles; ++n) {
#pragma unroll
        for (int i = 0; i < 4; i += 2) {
          const uint32_t token = warp_token_ + m * 16 + lane_ / 4 + i / 2 * 8;
          const uint32_t row = warp_row_ + n * 8 + lane_ % 4 * 2;
          *reinterpret_cast<float2*>(sums + (split_ * Tile::kTokens + token) * Tile::kSumStride +
                                     row) = {total_[m][n][i], total_[m][n][i + 1]};
        }
      }
    }
    __syncthreads();
    const auto total = [&](size_t token, uint32_t n) {
      float sum = 0;
#pragma unroll
      for (int s = 0; s < Tile::kSplit; ++s) {
        sum += sums[(s * Tile::kTokens + token - first_token_) * Tile::kSumStride + n];
      }
      return sum;
    };
#pragma unroll 1
    for (int from = 0; from < Tile::kOutputs; from += Tile::kBatch) {
      if (p_.half != 0) {
#pragma unroll 1
        for (int o = 0; o < Tile::kBatch; ++o) StoreGated(from + o, total);
        continue;
      }
      if constexpr (!Tile::kEarly) {
        FetchWeights(from);
        FetchY(from);
      }
      EachOutput(from, [&](int o, size_t token, uint32_t n, uint32_t row) {
        float y = total(token, n);
        if constexpr (W::kScaled) y *= row_scale_[o];
        YOf(token)[row] = before_[o] + (y + row_bias_[o]);
      });
    }
  }

  template <class F>
  __device__ void StoreGated(int o, const F& total) {
    const uint32_t i = threadIdx.x + o * Tile::kThreads, n = i % (Tile::kRows / 2);
    const size_t token = first_token_ + i / (Tile::kRows / 2);
    const uint32_t row = blockIdx.y * (Tile::kRows / 2) + n, at = n / 8 * 16 + n % 8;
    if (i / (Tile::kRows / 2) >= Tile::kTokens || token >= f_.lanes || row >= p_.half) return;
    const float gate = Finished(total(token, at), row);
    const float linear = Finished(total(token, at + 8), row + p_.half);
    YOf(token)[row] = Activate(p_.act, gate) * linear;
  }

  __device__ float* YOf(size_t token) const { return f_.data + token * f_.stride + p_.y; }
  __device__ float Finished(float sum, uint32_t row) const {
    if constexpr (W::kScaled) sum *= p_.scale[row];
    return p_.bias ? sum + p_.bias[row] : sum;
  }

  const TokenLinear& p_;
  const Frames<float>& f_;
  Element* const b_;  // [stage][row][kStride]
  float* const a_;    // [stage][token][kStride], or [token][a_stride_]
  const uint32_t a_stride_;
  float* const scale_;  // of the norm, and its bias behind it
  const size_t first_token_;
  const uint32_t lane_;
  uint32_t split_, warp_row_, warp_token_;
  float total_[kTokenTiles][kRowTiles][4] = {};
  // Of a batch of outputs: what y holds, the rows' scales and biases.
  float before_[Tile::kBatch], row_scale_[Tile::kBatch], row_bias_[Tile::kBatch];
};

template <class W, class Tile, bool kNorm>
__global__ void __launch_bounds__(Tile::kThreads, Tile::kBlocks)
    LinearTokensKernel(const __grid_constant__ TokenLinear p,
                       const __grid_constant__ Frames<float> f) {
  extern __shared__ __align__(128) char shared[];
  TokenBlock<W, Tile, kNorm>(p, f, shared).Run();
}

}  // namespace xst::kernels::cuda
