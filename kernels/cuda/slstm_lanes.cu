#include "kernels/cuda/slstm_lanes.h"

#include <algorithm>

#include "kernels/cuda/linear_tokens.h"
#include "kernels/cuda/slstm_lanes.cuh"

namespace xst::kernels::cuda {
namespace {

constexpr uint32_t kMostThreads = 512;
constexpr uint32_t kBlocksAtOnce = 128;

size_t SharedBytes(const SlstmBlock& b, uint32_t lanes, uint32_t heads_at_once) {
  return size_t{4} *
         SlstmShared(b.cell.channels, b.out.heads, b.cell.dim, lanes, heads_at_once).size;
}

// How many heads' weights fit beside the lanes; 0: none.
uint32_t HeadsAtOnce(const SlstmBlock& b, uint32_t lanes, size_t most) {
  uint32_t heads = b.out.heads;
  while (heads > 0 && SharedBytes(b, lanes, heads) > most) --heads;
  return heads;
}

template <int kLanes>
cudaError_t Launch(SlstmLayer p, const SlstmBlock& b, uint32_t groups, const Frames<float>& frames,
                   size_t most, cudaStream_t stream) {
  // Fewer lanes where they leave no room for one head.
  while (groups > 1 && HeadsAtOnce(b, groups * kLanes, most) == 0) --groups;
  p.lanes = groups * kLanes;
  p.heads_at_once = HeadsAtOnce(b, p.lanes, most);
  if (p.heads_at_once == 0) {
    if constexpr (kLanes > 1) return Launch<kLanes / 2>(p, b, groups, frames, most, stream);
    return cudaErrorInvalidValue;
  }
  const uint32_t wanted = (p.channels * groups + 31) / 32 * 32;
  return LaunchChained(SlstmLayerKernel<kLanes>, dim3((frames.lanes + p.lanes - 1) / p.lanes),
                       std::clamp(wanted, 256u, kMostThreads),
                       SharedBytes(b, p.lanes, p.heads_at_once), stream, p, frames);
}

}  // namespace

bool BlockFits(const SlstmBlock& b, const Frames<float>&) {
  if (b.feedforward) {
    const FeedForward& f = *b.feedforward;
    if (!LinearTokensFits(&f.norm, f.up, &f.act) || !LinearTokensFits(nullptr, f.down, nullptr)) {
      return false;
    }
  }
  const uint32_t channels = b.cell.channels;
  return b.input.w.layout == Layout::rows && b.cell.r.layout == Layout::rows &&
         b.norm.size == channels && b.input.channels == channels && b.input.dim == b.cell.dim &&
         b.out.dim == b.cell.dim && b.out.heads * b.out.dim == channels && b.out.x == b.norm.x &&
         (!b.conv || b.conv->kernel <= kMostTaps) && HeadsAtOnce(b, 1, SharedLimit()) > 0;
}

cudaError_t LaunchSlstmLayer(const SlstmBlock& b, const Frames<float>& frames,
                             cudaStream_t stream) {
  if (frames.lanes == 0) return cudaSuccess;
  SlstmLayer p = {};
  p.channels = b.cell.channels;
  p.heads = b.out.heads;
  p.dim = b.cell.dim;
  p.norm_weight = b.norm.weight;
  p.norm_bias = b.norm.bias;
  p.norm_offset = b.norm.weight_offset;
  p.norm_eps = b.norm.eps;
  p.norm_center = b.norm.center;
  if (b.conv) {
    p.kernel = b.conv->kernel;
    p.conv_weight = b.conv->weight;
    p.conv_bias = b.conv->bias;
    p.conv_stride = b.conv->stride;
    p.history = b.conv->history;
  }
  p.w = AnyMatrixOf(b.input.w, nullptr);
  p.r = AnyMatrixOf(b.cell.r, b.cell.bias);
  p.forget_cap = b.cell.forget_cap;
  p.lstm = b.cell.lstm;
  p.out_weight = b.out.weight;
  p.out_eps = b.out.eps;
  p.x = b.out.x;
  p.y = b.cell.y;
  p.c = b.cell.c;
  p.n = b.cell.n;
  p.m = b.cell.m;

  const size_t most = SharedLimit();
  const uint32_t wanted = (frames.lanes + kBlocksAtOnce - 1) / kBlocksAtOnce;
  const uint32_t groups = std::clamp(kMostThreads / p.channels, 1u, 4u);
  if (wanted <= groups) return Launch<1>(p, b, wanted, frames, most, stream);
  if (wanted <= 2 * groups) return Launch<2>(p, b, groups, frames, most, stream);
  if (wanted <= 4 * groups) return Launch<4>(p, b, groups, frames, most, stream);
  return Launch<8>(p, b, groups, frames, most, stream);
}

cudaError_t LaunchBlock(const SlstmBlock& b, const Frames<float>& frames, cudaStream_t stream) {
  cudaError_t error = LaunchSlstmLayer(b, frames, stream);
  if (error != cudaSuccess || !b.feedforward) return error;
  const FeedForward& f = *b.feedforward;
  error = LaunchLinearTokens(&f.norm, f.up, &f.act, frames, stream);
  if (error != cudaSuccess) return error;
  return LaunchLinearTokens(nullptr, f.down, nullptr, frames, stream);
}

}  // namespace xst::kernels::cuda
