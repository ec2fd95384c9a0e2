#include "kernels/cuda/sequence_qkv.h"

#include "kernels/cuda/chained_launch.cuh"
#include "kernels/cuda/lane.cuh"
#include "kernels/cuda/math.cuh"
#include "kernels/cuda/sequence_mlstm.cuh"
#include "kernels/cuda/sequence_qkv_fours.cuh"
#include "kernels/cuda/shared_memory.h"
#include "kernels/cuda/weights.cuh"

namespace xst::kernels::cuda {
namespace {

constexpr int kThreads = 256, kTile = 16, kWarps = kThreads / 32, kRows = 8;
constexpr int kEach = kTile / kWarps;  // tokens of a warp's gates

// w[row][k]; the loads of a loop over it do not wait for each other.
template <class W>
__device__ float NumberAt(const Matrix& w, uint32_t row, uint32_t k) {
  const auto* data = static_cast<const typename W::Element*>(w.data);
  const float number = W::Number(data[row * RowStride(w.dtype, w.cols) + k]);
  return W::kScaled ? number * w.scale[row] : number;
}

// Shared: a and c of the tile, [q | k | v] of it, and the weights of the gates.
size_t SharedBytes(const QkvOps& o) {
  return sizeof(float) * (size_t{5} * kTile + o.gates.w.rows) * o.conv.channels +
         sizeof(float) * size_t{2} * o.gates.w.rows * o.conv.channels;
}

// One of q, k, v of a channel for the tile; kBlock at least the columns of its matrix.
template <int kBlock>
__device__ void Project(const BlockLinear& o, uint32_t channel, uint32_t channels, int tokens,
                        const float* x, float* shared_y, float* y, size_t stride) {
  float w[kBlock];
  WithWeights(o.w.dtype, [&](auto type) {
#pragma unroll
    for (int j = 0; j < kBlock; ++j) {
      w[j] = j < o.w.cols ? NumberAt<decltype(type)>(o.w, channel, j) : 0;
    }
  });
  const float bias = o.bias ? o.bias[channel] : 0;
  x += channel / o.w.cols * o.w.cols;
#pragma unroll 4
  for (int t = 0; t < tokens; ++t) {
    float sum = 0;
#pragma unroll
    for (int j = 0; j < kBlock; ++j) {
      if (j < o.w.cols) sum = fmaf(w[j], x[t * channels + j], sum);
    }
    sum += bias;
    shared_y[t * 3 * channels + channel] = sum;
    y[t * stride + channel] = sum;
  }
}

// A block: kTile tokens of one lane.
template <int kBlock>
__global__ void __launch_bounds__(kThreads) QkvKernel(QkvOps o, Sequence<float> s, uint32_t tiles) {
  extern __shared__ __align__(16) float shared_qkv[];
  const uint32_t channels = o.conv.channels, rows = o.gates.w.rows, width = 3 * channels;
  float* a = shared_qkv;
  float* c = a + kTile * channels;
  float* qkv = c + kTile * channels;
  float* weights = qkv + kTile * width;
  const size_t lane = blockIdx.x / tiles, stride = s.tokens.stride;
  if (!IsActive(s.state, lane)) return;
  const int begin = blockIdx.x % tiles * kTile, steps = s.steps;
  const int tokens = min(kTile, steps - begin), past = o.conv.kernel - 1;
  float* token = s.tokens.data + (lane * s.steps + begin) * stride;

  WithWeights(o.gates.w.dtype, [&](auto type) {
    for (uint32_t k = threadIdx.x; k < width; k += kThreads) {
#pragma unroll 8
      for (uint32_t r = 0; r < rows; ++r) {
        weights[r * width + k] = NumberAt<decltype(type)>(o.gates.w, r, k);
      }
    }
  });
  for (uint32_t channel = threadIdx.x; channel < channels; channel += kThreads) {
    float* history = s.state.data + lane * s.state.stride + o.conv.history + channel;
    const float* x = token + o.conv.x + channel;
    float in_tile[kTile];
#pragma unroll
    for (int t = 0; t < kTile; ++t) in_tile[t] = t < tokens ? x[t * stride] : 0;
#pragma unroll
    for (int t = 0; t < kTile; ++t) a[t * channels + channel] = in_tile[t];
    const float bias = o.conv.bias[channel];
    for (int t = 0; t < tokens; ++t) {
      float sum = 0;
      for (int j = 0; j <= past; ++j) {
        const int at = t + j - past;
        const float in = at >= 0 ? a[at * channels + channel]
                         : begin + at >= 0
                             ? x[static_cast<ptrdiff_t>(at) * static_cast<ptrdiff_t>(stride)]
                             : history[(begin + at + past) * o.conv.stride];
        sum = fmaf(in, o.conv.weight[j * o.conv.stride + channel], sum);
      }
      const float y = Silu(sum + bias);
      c[t * channels + channel] = y;
      token[t * stride + o.conv.y + channel] = y;
    }
    // Only the first tile of a lane meets the history; ascending, as in sequence_conv.cu.
    if (begin > 0) continue;
    for (int j = 0; j < past; ++j) {
      const int t = steps - past + j;
      history[j * o.conv.stride] = t < 0 ? history[(j + steps) * o.conv.stride] : x[t * stride];
    }
  }
  __syncthreads();
  for (uint32_t channel = threadIdx.x; channel < channels; channel += kThreads) {
    Project<kBlock>(o.q, channel, channels, tokens, c, qkv, token + o.q.y, stride);
    Project<kBlock>(o.k, channel, channels, tokens, c, qkv + channels, token + o.k.y, stride);
    Project<kBlock>(o.v, channel, channels, tokens, a, qkv + 2 * channels, token + o.v.y, stride);
  }
  __syncthreads();

  const int warp = threadIdx.x / 32, thread = threadIdx.x % 32;
  for (uint32_t first = 0; first < rows; first += kRows) {
    float sums[kRows][kEach] = {};
    for (uint32_t k = 4 * thread; k < width; k += 128) {
      float4 in[kEach];
#pragma unroll
      for (int e = 0; e < kEach; ++e) {
        in[e] = *reinterpret_cast<const float4*>(qkv + (warp * kEach + e) * width + k);
      }
#pragma unroll
      for (int r = 0; r < kRows; ++r) {
        if (first + r >= rows) break;
        const float4 w = *reinterpret_cast<const float4*>(weights + (first + r) * width + k);
#pragma unroll
        for (int e = 0; e < kEach; ++e) {
          sums[r][e] = fmaf(w.x, in[e].x, sums[r][e]);
          sums[r][e] = fmaf(w.y, in[e].y, sums[r][e]);
          sums[r][e] = fmaf(w.z, in[e].z, sums[r][e]);
          sums[r][e] = fmaf(w.w, in[e].w, sums[r][e]);
        }
      }
    }
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
#pragma unroll
      for (int e = 0; e < kEach; ++e) {
        const float sum = SumOver<32>(sums[r][e]);
        const int t = warp * kEach + e;
        if (thread == 0 && first + r < rows && t < tokens) {
          token[t * stride + o.gates.y + first + r] =
              sum + (o.gates.bias ? o.gates.bias[first + r] : 0);
        }
      }
    }
  }
}

template <int kBlock>
cudaError_t LaunchQkv(const QkvOps& o, const Sequence<float>& s, cudaStream_t stream) {
  const size_t bytes = SharedBytes(o);
  const cudaError_t error = AllowShared(QkvKernel<kBlock>, bytes);
  if (error != cudaSuccess) return error;
  const uint32_t tiles = (s.steps + kTile - 1) / kTile;
  QkvKernel<kBlock><<<tiles * s.state.lanes, kThreads, bytes, stream>>>(o, s, tiles);
  return cudaGetLastError();
}

bool FitsFours(const QkvOps& o, const Sequence<float>& s) {
  const auto aligned = [&](Slot at) {
    return reinterpret_cast<uintptr_t>(s.tokens.data + at) % 16 == 0;
  };
  return o.conv.kernel == Fours::kKernel && o.q.w.cols == 4 && o.k.w.cols == 4 && o.v.w.cols == 4 &&
         o.gates.w.rows <= Fours::kGates && Fours::Bytes(o.conv.channels) <= SharedLimit() &&
         s.tokens.stride % 4 == 0 && aligned(o.conv.x) && aligned(o.conv.y) && aligned(o.q.y);
}

cudaError_t LaunchFours(const QkvOps& o, bool store, const Sequence<float>& s,
                        cudaStream_t stream) {
  const uint32_t tiles = (s.steps + Fours::kTile - 1) / Fours::kTile;
  return LaunchChained(store ? FoursKernel<true> : FoursKernel<false>, tiles * s.state.lanes,
                       Fours::kThreads, Fours::Bytes(o.conv.channels), stream, o, s, tiles);
}

}  // namespace

bool FitsSequence(const QkvOps& o) {
  const uint32_t channels = o.conv.channels;
  const auto whole = [&](const BlockLinear& p, Slot x, Slot y) {
    return p.w.rows == channels && p.w.cols <= 32 && p.x == x && p.y == y;
  };
  return channels % 4 == 0 && o.conv.kernel - 1 <= kTile && whole(o.q, o.conv.y, o.q.y) &&
         whole(o.k, o.conv.y, o.q.y + channels) && whole(o.v, o.conv.x, o.q.y + 2 * channels) &&
         o.gates.x == o.q.y && o.gates.w.cols == 3 * channels && !o.gates.accumulate &&
         SharedBytes(o) <= SharedLimit();
}

cudaError_t LaunchSequence(const QkvOps& o, const Sequence<float>& s, cudaStream_t stream) {
  if (s.steps == 0 || s.state.lanes == 0) return cudaSuccess;
  if (FitsFours(o, s)) return LaunchFours(o, true, s, stream);
  return o.q.w.cols <= 4 && o.k.w.cols <= 4 && o.v.w.cols <= 4 ? LaunchQkv<4>(o, s, stream)
                                                               : LaunchQkv<32>(o, s, stream);
}

namespace {

// The cell as one that makes q, k and v itself.
MlstmCell ReadingFronts(const QkvOps& o, MlstmCell cell) {
  cell.q = cell.k = o.conv.y;
  cell.v = o.conv.x;
  return cell;
}

}  // namespace

bool FitsSequence(const QkvOps& o, const MlstmCell& cell, const Sequence<float>& s) {
  const uint32_t channels = o.conv.channels;
  return FitsSequence(o) && FitsFours(o, s) && cell.heads * cell.dk == channels &&
         cell.heads * cell.dv == channels && cell.q == o.q.y && cell.k == o.k.y &&
         cell.v == o.v.y && cell.gates == o.gates.y &&
         sequence::FitsProjected(ReadingFronts(o, cell), {o.q, o.k, o.v}, s);
}

cudaError_t LaunchSequence(const QkvOps& o, const MlstmCell& cell, const Sequence<float>& s,
                           void* workspace, cudaStream_t stream) {
  if (s.steps == 0 || s.state.lanes == 0) return cudaSuccess;
  const cudaError_t error = LaunchFours(o, false, s, stream);
  if (error != cudaSuccess) return error;
  const auto work = sequence::WorkIn(cell, s.state.lanes, s.steps, workspace);
  return sequence::LaunchProjected(ReadingFronts(o, cell), {o.q, o.k, o.v}, s, work, stream);
}

}  // namespace xst::kernels::cuda
