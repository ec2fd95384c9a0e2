#include "kernels/cuda/linear_tokens.h"

#include <algorithm>

#include "kernels/cuda/linear_tokens.cuh"

namespace xst::kernels::cuda {
namespace {

constexpr uint32_t kMostNormColumns = 2048;

// From the most work a block to the most blocks.
using Tile64x128 = TokenTile<64, 128, 32, 32, 1, 32, 3, 2>;
using Tile64x64 = TokenTile<64, 64, 32, 16, 1, 32, 3, 2>;
using Tile32x32 = TokenTile<32, 32, 16, 16, 2, 64, 3, 2>;
using Tile16x16 = TokenTile<16, 16, 16, 16, 8, 128, 2, 2>;

// Enough blocks to give nearly every multiprocessor of a large GPU one.
constexpr size_t kEnoughBlocks = 120;

template <class Tile>
dim3 GridOf(const TokenLinear& p, const Frames<float>& f) {
  const uint32_t rows = p.half != 0 ? (p.half + Tile::kRows / 2 - 1) / (Tile::kRows / 2)
                                    : (p.rows + Tile::kRows - 1) / Tile::kRows;
  return {(f.lanes + Tile::kTokens - 1) / Tile::kTokens, rows};
}

template <class W, class Tile>
size_t SharedBytes(const TokenLinear& p, bool norm) {
  return std::max(Tile::RowsBytes(sizeof(typename W::Element)) + Tile::TokensBytes(norm, p.cols),
                  Tile::kSumBytes);
}

template <class W, class Tile>
cudaError_t Launch(const TokenLinear& p, bool norm, const Frames<float>& f, cudaStream_t stream) {
  return LaunchChained(
      norm ? LinearTokensKernel<W, Tile, true> : LinearTokensKernel<W, Tile, false>,
      GridOf<Tile>(p, f), Tile::kThreads, SharedBytes<W, Tile>(p, norm), stream, p, f);
}

template <class W, class Tile, class... Smaller>
cudaError_t LaunchLargest(const TokenLinear& p, bool norm, const Frames<float>& f, size_t most,
                          cudaStream_t stream) {
  if constexpr (sizeof...(Smaller) > 0) {
    const dim3 grid = GridOf<Tile>(p, f);
    if (size_t{grid.x} * grid.y < kEnoughBlocks || SharedBytes<W, Tile>(p, norm) > most) {
      return LaunchLargest<W, Smaller...>(p, norm, f, most, stream);
    }
  }
  return Launch<W, Tile>(p, norm, f, stream);
}

}  // namespace

bool LinearTokensFits(const Norm* norm, const Linear& l, const GatedAct* act) {
  if (l.w.layout != Layout::rows) return false;
  if (norm &&
      (norm->size != l.w.cols || norm->y != l.x || norm->size > kMostNormColumns ||
       Tile16x16::RowsBytes(4) + Tile16x16::TokensBytes(true, norm->size) > SharedLimit())) {
    return false;
  }
  return !act || (l.w.rows == 2 * act->size && act->gate == l.y && act->linear == l.y + act->size &&
                  !l.accumulate);
}

cudaError_t LaunchLinearTokens(const Norm* norm, const Linear& l, const GatedAct* act,
                               const Frames<float>& tokens, cudaStream_t stream) {
  if (tokens.lanes == 0) return cudaSuccess;
  TokenLinear p = {};
  p.weights = l.w.data;
  p.scale = l.w.scale;
  p.bias = l.bias;
  p.rows = l.w.rows;
  p.cols = l.w.cols;
  p.row_stride = static_cast<uint32_t>(RowStride(l.w.dtype, l.w.cols));
  p.x = norm ? norm->x : l.x;
  p.y = act ? act->y : l.y;
  p.accumulate = l.accumulate;
  p.aligned_x = tokens.stride % 4 == 0 && reinterpret_cast<uintptr_t>(tokens.data + p.x) % 16 == 0;
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
    error = LaunchLargest<decltype(w), Tile64x128, Tile64x64, Tile32x32, Tile16x16>(
        p, norm != nullptr, tokens, SharedLimit(), stream);
  });
  return error;
}

}  // namespace xst::kernels::cuda
