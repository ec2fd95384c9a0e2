#include "kernels/cuda/lane.cuh"
#include "kernels/cuda/math.cuh"
#include "kernels/cuda/sequence.h"

namespace xst::kernels::cuda {
namespace {

constexpr uint32_t kThreads = 128, kTile = 16;

struct ConvTiling {
  uint32_t steps;   // of a tile, at least K - 1: only the first tile of a lane meets its history
  uint32_t tiles;   // of a lane
  uint32_t blocks;  // over the channels
};

// One thread: a channel of one lane over one tile. kKernel 0: any kernel size.
template <class T, uint32_t kKernel>
__global__ void __launch_bounds__(kThreads) ConvKernel(Conv o, Sequence<T> s, ConvTiling tiling) {
  const uint32_t channel = blockIdx.x % tiling.blocks * kThreads + threadIdx.x;
  const uint32_t tile = blockIdx.x / tiling.blocks % tiling.tiles;
  const size_t lane = blockIdx.x / tiling.blocks / tiling.tiles;
  if (channel >= o.channels || !IsActive(s.state, lane)) return;
  const int kernel = kKernel ? kKernel : o.kernel, past = kernel - 1;
  const int begin = tile * tiling.steps, steps = s.steps;
  const int end = min(begin + static_cast<int>(tiling.steps), steps);
  const size_t stride = s.tokens.stride;
  T* history = s.state.data + lane * s.state.stride + o.history + channel;
  T* token = s.tokens.data + lane * s.steps * stride + channel;
  const T* x = token + o.x;
  T* y = token + o.y;
  const T bias = o.bias[channel];

  if constexpr (kKernel > 0) {
    T w[kKernel], in[kKernel - 1 + kTile];
#pragma unroll
    for (int j = 0; j < static_cast<int>(kKernel); ++j) w[j] = o.weight[j * o.stride + channel];
#pragma unroll
    for (int j = 0; j < static_cast<int>(kKernel - 1 + kTile); ++j) {
      const int t = begin + j - past;
      in[j] = t < 0 ? history[(t + past) * o.stride] : t < end ? x[t * stride] : T(0);
    }
#pragma unroll
    for (int j = 0; j < static_cast<int>(kTile); ++j) {
      if (begin + j >= end) break;
      T sum = 0;
#pragma unroll
      for (int i = 0; i < static_cast<int>(kKernel); ++i) {
        sum = MulAdd(i < past ? Rounded(in[j + i]) : in[j + i], w[i], sum);
      }
      y[(begin + j) * stride] = Silu(sum + bias);
    }
  } else {
    for (int t = begin; t < end; ++t) {
      T sum = 0;
      for (int i = 0; i < kernel; ++i) {
        const int at = t + i - past;
        const T in = at < 0 ? history[(at + past) * o.stride] : x[at * stride];
        sum = MulAdd(i < past ? Rounded(in) : in, T(o.weight[i * o.stride + channel]), sum);
      }
      y[t * stride] = Silu(sum + bias);
    }
  }
  if (tile > 0) return;
  // Ascending: what is read lies at or behind what is written.
  for (int j = 0; j < past; ++j) {
    const int t = steps - past + j;
    history[j * o.stride] = t < 0 ? history[(j + steps) * o.stride] : Rounded(x[t * stride]);
  }
}

}  // namespace

template <class T>
cudaError_t LaunchSequence(const Conv& o, const Sequence<T>& s, cudaStream_t stream) {
  if (s.steps == 0 || s.state.lanes == 0) return cudaSuccess;
  ConvTiling tiling;
  tiling.steps = o.kernel - 1 > kTile ? o.kernel - 1 : kTile;
  tiling.tiles = (s.steps + tiling.steps - 1) / tiling.steps;
  tiling.blocks = (o.channels + kThreads - 1) / kThreads;
  const uint32_t grid = tiling.blocks * tiling.tiles * s.state.lanes;
  switch (o.kernel) {
    case 2:
      ConvKernel<T, 2><<<grid, kThreads, 0, stream>>>(o, s, tiling);
      break;
    case 3:
      ConvKernel<T, 3><<<grid, kThreads, 0, stream>>>(o, s, tiling);
      break;
    case 4:
      ConvKernel<T, 4><<<grid, kThreads, 0, stream>>>(o, s, tiling);
      break;
    default:
      ConvKernel<T, 0><<<grid, kThreads, 0, stream>>>(o, s, tiling);
  }
  return cudaGetLastError();
}

template cudaError_t LaunchSequence(const Conv&, const Sequence<float>&, cudaStream_t);
template cudaError_t LaunchSequence(const Conv&, const Sequence<double>&, cudaStream_t);

}  // namespace xst::kernels::cuda
