#include "kernels/cuda/sequence_slstm_front.h"

#include <algorithm>

#include "kernels/cuda/chained_launch.cuh"
#include "kernels/cuda/lane.cuh"
#include "kernels/cuda/math.cuh"
#include "kernels/cuda/weights.cuh"

namespace xst::kernels::cuda {
namespace {

constexpr uint32_t kDim = 32;  // of a head: two units of 16 channels
constexpr int kThreads = 256, kWarps = kThreads / 32;
constexpr int kTile = 64;  // tokens
constexpr int kMostKernel = 16;
constexpr uint32_t kMostChannels = 512;
constexpr int kFours = kMostChannels / 128;  // of a token, of a thread of its warp

// u of a tile and of the tokens in front of it, then c of the tile.
size_t SharedBytes(const SlstmFront& o) {
  return sizeof(float) * (size_t{2} * kTile + o.conv.kernel - 1) * o.conv.channels;
}

__device__ inline float4& Four(float* at) { return *reinterpret_cast<float4*>(at); }
__device__ inline const float4& Four(const float* at) {
  return *reinterpret_cast<const float4*>(at);
}

// norm(x) by one warp, to(channel, four of it).
template <class To>
__device__ void Normalise(const Norm& o, const float* x, const To& to) {
  const uint32_t size = o.size, begin = threadIdx.x % 32 * 4;
  float4 v[kFours];
#pragma unroll
  for (int i = 0; i < kFours; ++i) {
    const uint32_t at = begin + i * 128;
    v[i] = at < size ? Four(x + at) : float4{};
  }
  const float first = o.center ? __shfl_sync(0xffffffffu, v[0].x, 0) : 0;
  float sum = 0;
#pragma unroll
  for (int i = 0; i < kFours; ++i) {
    v[i] = {v[i].x - first, v[i].y - first, v[i].z - first, v[i].w - first};
    if (begin + i * 128 < size) sum += (v[i].x + v[i].y) + (v[i].z + v[i].w);
  }
  const float mean = o.center ? SumOver<32>(sum) / static_cast<float>(size) : 0;
  float squares = 0;
#pragma unroll
  for (int i = 0; i < kFours; ++i) {
    v[i] = {v[i].x - mean, v[i].y - mean, v[i].z - mean, v[i].w - mean};
    if (begin + i * 128 < size) {
      squares = fmaf(v[i].x, v[i].x, squares);
      squares = fmaf(v[i].y, v[i].y, squares);
      squares = fmaf(v[i].z, v[i].z, squares);
      squares = fmaf(v[i].w, v[i].w, squares);
    }
  }
  const float scale = 1 / sqrtf(SumOver<32>(squares) / static_cast<float>(size) + o.eps);
#pragma unroll
  for (int i = 0; i < kFours; ++i) {
    const uint32_t at = begin + i * 128;
    if (at >= size) continue;
    float y[4] = {v[i].x * scale, v[i].y * scale, v[i].z * scale, v[i].w * scale};
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      if (o.weight) y[j] *= o.weight[at + j] + o.weight_offset;
      if (o.bias) y[j] += o.bias[at + j];
    }
    to(at, float4{y[0], y[1], y[2], y[3]});
  }
}

// The rows of W of one gate of 16 channels of both units of a head.
template <class W>
__device__ void FetchWeights(const Matrix& w, uint32_t row, float (&to)[kDim]) {
  using Element = typename W::Element;
  struct alignas(4 * sizeof(Element)) Elements {
    Element e[4];
  };
  const auto* from = static_cast<const Element*>(w.data) + row * RowStride(w.dtype, w.cols);
  const float scale = W::kScaled ? w.scale[row] : 1;
#pragma unroll
  for (uint32_t k = 0; k < kDim; k += 4) {
    const Elements four = *reinterpret_cast<const Elements*>(from + k);
#pragma unroll
    for (int j = 0; j < 4; ++j) to[k + j] = W::Number(four.e[j]) * scale;
  }
}

// A block: kTile tokens of one lane. For the products a warp takes two gates of a head at a time:
// a thread has two rows of W in registers, all threads read the same inputs.
__global__ void __launch_bounds__(kThreads, 2)
    FrontKernel(const __grid_constant__ SlstmFront o, const __grid_constant__ Sequence<float> s,
                uint32_t tiles) {
  extern __shared__ __align__(16) float shared_front[];
  const uint32_t channels = o.conv.channels, thread = threadIdx.x % 32;
  const int warp = threadIdx.x / 32, past = o.conv.kernel - 1, steps = s.steps;
  const int begin = static_cast<int>(blockIdx.x % tiles) * kTile;
  const int tokens = min(kTile, steps - begin);
  const size_t lane = blockIdx.x / tiles, stride = s.tokens.stride;
  float* const u = shared_front;  // of begin - past on
  float* const c = u + (kTile + past) * channels;
  float* const first = s.tokens.data + lane * s.steps * stride;
  float* const history = s.state.data + lane * s.state.stride + o.conv.history;

  const uint32_t jobs = channels / kDim * 2;
  float w[2][kDim];
  const auto row_of = [&](uint32_t job, uint32_t unit) {
    return (job / 2 * 2 + unit) * (4 * kUnit) + job % 2 * 32 + thread;
  };
  const auto fetch = [&](uint32_t job) {
    WithWeights(o.input.w.dtype, [&](auto type) {
#pragma unroll
      for (uint32_t unit = 0; unit < 2; ++unit) {
        FetchWeights<decltype(type)>(o.input.w, row_of(job, unit), w[unit]);
      }
    });
  };
  if (warp < static_cast<int>(jobs)) fetch(warp);
  WaitForPredecessor();
  LetSuccessorStart();
  if (!IsActive(s.state, lane)) return;

  for (int row = warp; row < tokens + past; row += kWarps) {
    const int t = begin + row - past;
    float* const to = u + row * channels;
    if (t < 0) {
      for (uint32_t i = thread; i < channels; i += 32) {
        to[i] = history[(t + past) * o.conv.stride + i];
      }
    } else {
      Normalise(o.norm, first + t * stride + o.norm.x,
                [&](uint32_t at, const float4& v) { Four(to + at) = v; });
    }
  }
  __syncthreads();
  for (uint32_t i = threadIdx.x * 4; i < tokens * channels; i += kThreads * 4) {
    const uint32_t channel = i % channels;
    float4 sum = {};
    for (int j = 0; j <= past; ++j) {
      const float4 in = Four(u + i + j * channels);
      const float* tap = o.conv.weight + j * o.conv.stride + channel;
      sum = {fmaf(in.x, tap[0], sum.x), fmaf(in.y, tap[1], sum.y), fmaf(in.z, tap[2], sum.z),
             fmaf(in.w, tap[3], sum.w)};
    }
    const float* bias = o.conv.bias + channel;
    Four(c + i) = {Silu(sum.x + bias[0]), Silu(sum.y + bias[1]), Silu(sum.z + bias[2]),
                   Silu(sum.w + bias[3])};
  }
  __syncthreads();
  // The one tile that meets the history leaves the new one: of the last tokens' u, or of what it
  // already has, ascending, in shared memory.
  if (begin == 0) {
    for (int j = warp; j < past; j += kWarps) {
      const int t = steps - past + j;
      float* const to = history + j * o.conv.stride;
      if (t < tokens) {
        for (uint32_t i = thread; i < channels; i += 32) to[i] = u[(t + past) * channels + i];
      } else {
        Normalise(o.norm, first + t * stride + o.norm.x, [&](uint32_t at, const float4& v) {
          to[at] = v.x;
          to[at + 1] = v.y;
          to[at + 2] = v.z;
          to[at + 3] = v.w;
        });
      }
    }
  }
  for (uint32_t job = warp; job < jobs; job += kWarps) {
    if (job != static_cast<uint32_t>(warp)) fetch(job);
    const float* in = (job % 2 ? u + past * channels : c) + job / 2 * kDim;
    float* y = first + begin * stride + o.input.wx + row_of(job, 0);
#pragma unroll 2
    for (int t = 0; t < tokens; ++t, in += channels, y += stride) {
      float sums[2][2] = {};
#pragma unroll
      for (uint32_t k = 0; k < kDim; k += 4) {
        const float4 x = Four(in + k);
#pragma unroll
        for (int unit = 0; unit < 2; ++unit) {
          sums[unit][0] = fmaf(w[unit][k], x.x, sums[unit][0]);
          sums[unit][1] = fmaf(w[unit][k + 1], x.y, sums[unit][1]);
          sums[unit][0] = fmaf(w[unit][k + 2], x.z, sums[unit][0]);
          sums[unit][1] = fmaf(w[unit][k + 3], x.w, sums[unit][1]);
        }
      }
      y[0] = sums[0][0] + sums[0][1];
      y[4 * kUnit] = sums[1][0] + sums[1][1];
    }
  }
}

}  // namespace

bool FitsSequence(const SlstmFront& o, const Sequence<float>& s) {
  const auto aligned = [&](Slot at) {
    return reinterpret_cast<uintptr_t>(s.tokens.data + at) % 16 == 0;
  };
  const uint32_t channels = o.conv.channels;
  return o.input.dim == kDim && o.input.channels == channels && o.norm.size == channels &&
         channels % kDim == 0 && channels <= kMostChannels && o.conv.kernel <= kMostKernel &&
         o.conv.x == o.norm.y && o.input.u == o.norm.y && o.input.conv == o.conv.y &&
         s.tokens.stride % 4 == 0 && aligned(o.norm.x) && SharedBytes(o) <= SharedLimit();
}

cudaError_t LaunchSequence(const SlstmFront& o, const Sequence<float>& s, cudaStream_t stream) {
  if (s.steps == 0 || s.state.lanes == 0) return cudaSuccess;
  const uint32_t tiles = (s.steps + kTile - 1) / kTile;
  return LaunchChained(FrontKernel, tiles * s.state.lanes, kThreads, SharedBytes(o), stream, o, s,
                       tiles);
}

}  // namespace xst::kernels::cuda
