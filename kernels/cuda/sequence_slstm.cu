#include "kernels/cuda/sequence.h"
#include "kernels/cuda/sequence_slstm_pair.cuh"
#include "kernels/cuda/shared_memory.h"

namespace xst::kernels::cuda {
namespace {

using namespace sequence;  // NOLINT: one channel of the cell

// A head of up to 16 kGroups <= 128 channels is a block: four threads a channel share its R, each
// the same 4 of every 16 columns, in registers and beyond those in shared memory. kLanes lanes of
// a head share the block.
template <int kGroups>
struct BlockScan {
  static constexpr int kThreads = kGroups * 64;
  static constexpr int kInRegisters = kGroups < 5 ? kGroups : 5;
  static constexpr int kInShared = kGroups - kInRegisters;
  static constexpr int kDim = 16 * kGroups;
};

template <class W, int kGroups, int kLanes>
__global__ void __launch_bounds__(BlockScan<kGroups>::kThreads, 1)
    BlockScanKernel(SlstmCell o, Sequence<float> s, uint32_t heads) {
  using Scan = BlockScan<kGroups>;
  constexpr int kThreads = Scan::kThreads, kDim = Scan::kDim, kNear = 2;
  extern __shared__ float4 weights[];  // [kInShared][4 gates][kThreads]
  __shared__ __align__(16) float y[kLanes][kDim];
  __shared__ float sums_of[kLanes][4][kDim + 8];
  const uint32_t head = blockIdx.x % heads, first_lane = blockIdx.x / heads * kLanes;
  const uint32_t slice = threadIdx.x % 4, mine = threadIdx.x / 4;

  float4 r[Scan::kInRegisters][4];
#pragma unroll
  for (int j = 0; j < kGroups; ++j) {
#pragma unroll
    for (int g = 0; g < 4; ++g) {
      const uint32_t k = j * 16 + slice * 4;
      float4 w = {};
      if (mine < o.dim) w = WeightsAt<W>(o.r, RowOf(head * o.dim + mine, g), k);
      if (j < Scan::kInRegisters) {
        r[j < Scan::kInRegisters ? j : 0][g] = w;
      } else {
        weights[((j - Scan::kInRegisters) * 4 + g) * kThreads + threadIdx.x] = w;
      }
    }
  }

  // The cell: thread d of lane l, of the first kLanes * kDim threads.
  const uint32_t l = threadIdx.x / kDim, d = threadIdx.x % kDim, lane = first_lane + l;
  const bool cell = l < kLanes && d < o.dim && lane < s.state.lanes && IsActive(s.state, lane);
  const uint32_t channel = head * o.dim + (cell ? d : 0), row = RowOf(channel, 0);
  float* frame = s.state.data + size_t{cell ? lane : 0} * s.state.stride;
  float* tokens = s.tokens.data + size_t{cell ? lane : 0} * s.steps * s.tokens.stride;
  const float* wx = tokens + o.wx + row;
  float near[kNear][4], bias[4];
  const auto fetch = [&](uint32_t t, float(&to)[4]) {
    if (!cell || t >= s.steps) return;
#pragma unroll
    for (int g = 0; g < 4; ++g) to[g] = wx[t * s.tokens.stride + g * 16];
  };
#pragma unroll
  for (int a = 0; a < kNear; ++a) fetch(a, near[a]);
#pragma unroll
  for (int g = 0; g < 4; ++g) bias[g] = o.bias[row + g * 16];
  CellState<float> state = LoadState(o, frame, channel);
  if (l < kLanes) y[l][d] = cell ? frame[o.y + channel] : 0;
  float out = 0;
  __syncthreads();

  for (uint32_t begin = 0; begin < s.steps; begin += kNear) {
#pragma unroll
    for (int a = 0; a < kNear; ++a) {
      const uint32_t t = begin + a;
      if (t >= s.steps) break;
      float sums[kLanes][4] = {};
#pragma unroll
      for (int j = 0; j < kGroups; ++j) {
        float4 v[kLanes];
#pragma unroll
        for (int i = 0; i < kLanes; ++i) {
          v[i] = *reinterpret_cast<const float4*>(&y[i][j * 16 + slice * 4]);
        }
#pragma unroll
        for (int g = 0; g < 4; ++g) {
          const float4 w =
              j < Scan::kInRegisters
                  ? r[j < Scan::kInRegisters ? j : 0][g]
                  : weights[((j - Scan::kInRegisters) * 4 + g) * kThreads + threadIdx.x];
#pragma unroll
          for (int i = 0; i < kLanes; ++i) {
            sums[i][g] = fmaf(w.x, v[i].x, sums[i][g]);
            sums[i][g] = fmaf(w.y, v[i].y, sums[i][g]);
            sums[i][g] = fmaf(w.z, v[i].z, sums[i][g]);
            sums[i][g] = fmaf(w.w, v[i].w, sums[i][g]);
          }
        }
      }
      // Summed over the four threads so that thread `slice` ends with gate `slice`.
#pragma unroll
      for (int i = 0; i < kLanes; ++i) {
        const bool high = slice & 2, odd = slice & 1;
        float keep[2];
#pragma unroll
        for (int e = 0; e < 2; ++e) {
          const float give = high ? sums[i][e] : sums[i][2 + e];
          keep[e] = (high ? sums[i][2 + e] : sums[i][e]) + __shfl_xor_sync(0xffffffffu, give, 2);
        }
        const float give = odd ? keep[0] : keep[1];
        sums_of[i][slice][mine] = (odd ? keep[1] : keep[0]) + __shfl_xor_sync(0xffffffffu, give, 1);
      }
      __syncthreads();
      if (cell) {
        float raw[4];
#pragma unroll
        for (int g = 0; g < 4; ++g) raw[g] = (near[a][g] + sums_of[l][g][d]) + bias[g];
        fetch(t + kNear, near[a]);
        out = Step(o, raw[0], raw[1], raw[2], raw[3], &state);
        y[l][d] = out;
        tokens[t * s.tokens.stride + o.out + channel] = out;
      }
      __syncthreads();
    }
  }
  if (cell) StoreState(o, frame, channel, state, out);
}

// Any head of one lane is a block that reads R anew every step, kPart threads a row.
constexpr uint32_t kAnyThreads = 512;

template <class T, class W, int kPart>
__global__ void __launch_bounds__(kAnyThreads)
    AnyScanKernel(SlstmCell o, Sequence<T> s, uint32_t heads) {
  extern __shared__ double shared_scan[];
  T* y = reinterpret_cast<T*>(shared_scan);  // [dim, up to a multiple of 4]
  const uint32_t padded = (o.dim + 3) / 4 * 4;
  T* raw = y + padded;  // [4][dim]
  const uint32_t first = blockIdx.x % heads * o.dim;
  const size_t lane = blockIdx.x / heads;
  if (!IsActive(s.state, lane)) return;
  T* frame = s.state.data + lane * s.state.stride;
  T* tokens = s.tokens.data + lane * s.steps * s.tokens.stride;
  for (uint32_t d = threadIdx.x; d < padded; d += kAnyThreads) {
    y[d] = d < o.dim ? frame[o.y + first + d] : T(0);
  }
  __syncthreads();
  for (uint32_t t = 0; t < s.steps; ++t, tokens += s.tokens.stride) {
    const uint32_t part = threadIdx.x % kPart;
    for (uint32_t begin = 0; begin < 4 * o.dim; begin += kAnyThreads / kPart) {
      const uint32_t at = begin + threadIdx.x / kPart;
      const bool real = at < 4 * o.dim;
      const uint32_t row = RowOf(first + (real ? at % o.dim : 0), real ? at / o.dim : 0);
      T sum = 0;
#pragma unroll 4
      for (uint32_t k = 4 * part; k < o.dim; k += 4 * kPart) {
        const float4 w = WeightsAt<W>(o.r, row, k);
        sum = MulAdd(T(w.x), y[k], sum);
        sum = MulAdd(T(w.y), y[k + 1], sum);
        sum = MulAdd(T(w.z), y[k + 2], sum);
        sum = MulAdd(T(w.w), y[k + 3], sum);
      }
      sum = SumOver<kPart>(sum);
      if (real && part == 0) raw[at] = (tokens[o.wx + row] + sum) + T(o.bias[row]);
    }
    __syncthreads();
    for (uint32_t d = threadIdx.x; d < o.dim; d += kAnyThreads) {
      CellState<T> state = LoadState(o, frame, first + d);
      const T out = Step(o, raw[d], raw[o.dim + d], raw[2 * o.dim + d], raw[3 * o.dim + d], &state);
      tokens[o.out + first + d] = out;
      y[d] = Rounded(out);
      StoreState(o, frame, first + d, state, out);
    }
    __syncthreads();
  }
}

template <class T, class W, int kPart>
cudaError_t LaunchAny(const SlstmCell& o, const Sequence<T>& s, cudaStream_t stream) {
  const uint32_t heads = o.channels / o.dim;
  const size_t bytes = sizeof(T) * (5 * size_t{o.dim} + 3);
  const auto kernel = AnyScanKernel<T, W, kPart>;
  if (const cudaError_t error = AllowShared(kernel, bytes); error != cudaSuccess) return error;
  kernel<<<heads * s.state.lanes, kAnyThreads, bytes, stream>>>(o, s, heads);
  return cudaGetLastError();
}

template <class W, int kDim>
cudaError_t LaunchPair(const SlstmCell& o, const Sequence<float>& s, cudaStream_t stream) {
  const uint32_t heads = o.channels / o.dim, tasks = heads * s.state.lanes;
  PairScanKernel<W, kDim><<<(tasks + kPairs - 1) / kPairs, kPairs * 64, 0, stream>>>(o, s, heads);
  return cudaGetLastError();
}

template <class W, int kGroups, int kLanes>
cudaError_t LaunchBlock(const SlstmCell& o, const Sequence<float>& s, cudaStream_t stream) {
  using Scan = BlockScan<kGroups>;
  const uint32_t heads = o.channels / o.dim;
  const auto kernel = BlockScanKernel<W, kGroups, kLanes>;
  const int bytes = Scan::kInShared * 4 * Scan::kThreads * static_cast<int>(sizeof(float4));
  if (bytes > 0) {
    const cudaError_t error =
        cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes);
    if (error != cudaSuccess) return error;
  }
  const uint32_t grid = heads * ((s.state.lanes + kLanes - 1) / kLanes);
  kernel<<<grid, Scan::kThreads, bytes, stream>>>(o, s, heads);
  return cudaGetLastError();
}

// Two lanes a block are slower than one, but faster than two blocks after each other.
template <class W, int kGroups>
cudaError_t LaunchBlock(const SlstmCell& o, const Sequence<float>& s, cudaStream_t stream) {
  constexpr uint32_t kFull = 128;
  return o.channels / o.dim * s.state.lanes > kFull ? LaunchBlock<W, kGroups, 2>(o, s, stream)
                                                    : LaunchBlock<W, kGroups, 1>(o, s, stream);
}

template <class W>
cudaError_t Launch(const SlstmCell& o, const Sequence<float>& s, cudaStream_t stream) {
  if (o.dim <= 8) return LaunchPair<W, 8>(o, s, stream);
  if (o.dim <= 16) return LaunchPair<W, 16>(o, s, stream);
  if (o.dim <= 32) return LaunchPair<W, 32>(o, s, stream);
  if (o.dim <= 64) return LaunchBlock<W, 4>(o, s, stream);
  if (o.dim <= 128) {
    const cudaError_t error = LaunchBlock<W, 8>(o, s, stream);
    // Some devices have less shared memory than R needs.
    if (error != cudaErrorInvalidValue) return error;
    cudaGetLastError();
  }
  return LaunchAny<float, W, 8>(o, s, stream);
}

template <class W>
cudaError_t Launch(const SlstmCell& o, const Sequence<double>& s, cudaStream_t stream) {
  return o.dim <= 16 ? LaunchAny<double, W, 4>(o, s, stream)
                     : LaunchAny<double, W, 8>(o, s, stream);
}

}  // namespace

template <class T>
cudaError_t LaunchSequence(const SlstmCell& o, const Sequence<T>& s, cudaStream_t stream) {
  if (s.steps == 0 || s.state.lanes == 0) return cudaSuccess;
  cudaError_t error = cudaErrorInvalidValue;
  WithWeights(o.r.dtype, [&](auto w) { error = Launch<decltype(w)>(o, s, stream); });
  return error;
}

template cudaError_t LaunchSequence(const SlstmCell&, const Sequence<float>&, cudaStream_t);
template cudaError_t LaunchSequence(const SlstmCell&, const Sequence<double>&, cudaStream_t);

}  // namespace xst::kernels::cuda
