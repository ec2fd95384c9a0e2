#include "kernels/cuda/lane.cuh"
#include "kernels/cuda/math.cuh"
#include "kernels/cuda/sequence.h"
#include "kernels/cuda/shared_memory.h"
#include "kernels/cuda/weights.cuh"

namespace xst::kernels::cuda {
namespace {

// Of a gate of a channel, in R, bias and wx.
__device__ uint32_t RowOf(uint32_t channel, uint32_t gate) {
  return channel / 16 * 64 + gate * 16 + channel % 16;
}

// R[row][k ... k + 3], k a multiple of 4; 0 beyond its columns, as its rows are padded.
template <class W>
__device__ float4 WeightsAt(const Matrix& r, uint32_t row, uint32_t k) {
  using Element = typename W::Element;
  struct alignas(4 * sizeof(Element)) Four {
    Element e[4];
  };
  const size_t stride = RowStride(r.dtype, r.cols);
  if (k >= stride) return {};
  const Four four =
      *reinterpret_cast<const Four*>(static_cast<const Element*>(r.data) + row * stride + k);
  float4 w = {W::Number(four.e[0]), W::Number(four.e[1]), W::Number(four.e[2]),
              W::Number(four.e[3])};
  if constexpr (W::kScaled) {
    const float scale = r.scale[row];
    w = {w.x * scale, w.y * scale, w.z * scale, w.w * scale};
  }
  return w;
}

template <class T>
struct CellState {
  T c, n, m;
};

template <class T>
__device__ CellState<T> LoadState(const SlstmCell& o, const T* frame, uint32_t channel) {
  if (o.lstm) return {frame[o.c + channel], T(0), T(0)};
  return {frame[o.c + channel], frame[o.n + channel], frame[o.m + channel]};
}

template <class T>
__device__ void StoreState(const SlstmCell& o, T* frame, uint32_t channel, const CellState<T>& s,
                           T out) {
  frame[o.c + channel] = s.c;
  frame[o.y + channel] = Rounded(out);
  if (o.lstm) return;
  frame[o.n + channel] = s.n;
  frame[o.m + channel] = s.m;
}

// The output of one channel; moves its state.
template <class T>
__device__ T Step(const SlstmCell& o, T i, T f, T z, T gate, CellState<T>* s) {
  if (o.lstm) {
    const T c = MulAdd(Sigmoid(f), s->c, Sigmoid(i) * tanh(z));
    s->c = Rounded(c);
    return Sigmoid(gate) * tanh(c);
  }
  const T lfm = s->m + LogSigmoid(fmin(f, T(o.forget_cap)));
  const T m = s->n == 0 ? i : fmax(i, lfm);
  const T input = fmin(exp(i - m), T(1));
  const T forget = fmin(exp(lfm - m), T(1));
  const T c = MulAdd(forget, s->c, input * tanh(z));
  const T n = MulAdd(forget, s->n, input);
  s->m = Rounded(m);
  if constexpr (sizeof(T) == sizeof(double)) {
    const T rescale = exp(m - s->m);  // c and n follow the m that is kept
    s->c = Rounded(c * rescale);
    s->n = Rounded(n * rescale);
  } else {
    s->c = c;
    s->n = n;
  }
  return Sigmoid(gate) * c / n;
}

// A head of up to kDim <= 32 channels of one lane is a warp; its thread holds R of one channel.
constexpr int kWarps = 2, kAhead = 4;

template <class W, int kDim>
__global__ void __launch_bounds__(kWarps * 32, 1)
    WarpScanKernel(SlstmCell o, Sequence<float> s, uint32_t heads) {
  __shared__ __align__(16) float shared_y[kWarps][2][kDim];
  const uint32_t task = blockIdx.x * kWarps + threadIdx.x / 32, thread = threadIdx.x % 32;
  if (task >= heads * s.state.lanes) return;
  const uint32_t head = task % heads;
  const size_t lane = task / heads;
  if (!IsActive(s.state, lane)) return;
  const bool real = thread < o.dim;
  const uint32_t channel = head * o.dim + (real ? thread : 0);
  float(&y)[2][kDim] = shared_y[threadIdx.x / 32];
  float* frame = s.state.data + lane * s.state.stride;
  float* tokens = s.tokens.data + lane * s.steps * s.tokens.stride;

  float r[4][kDim], bias[4], ahead[kAhead][4];
  const float* wx[4];
#pragma unroll
  for (int g = 0; g < 4; ++g) {
    const uint32_t row = RowOf(channel, g);
#pragma unroll
    for (int k = 0; k < kDim; k += 4) {
      const float4 w = WeightsAt<W>(o.r, row, k);
      r[g][k] = w.x;
      r[g][k + 1] = w.y;
      r[g][k + 2] = w.z;
      r[g][k + 3] = w.w;
    }
    bias[g] = o.bias[row];
    wx[g] = tokens + o.wx + row;
  }
  const auto fetch = [&](uint32_t t, float(&to)[4]) {
    if (t >= s.steps) return;
#pragma unroll
    for (int g = 0; g < 4; ++g) to[g] = wx[g][t * s.tokens.stride];
  };
#pragma unroll
  for (int a = 0; a < kAhead; ++a) fetch(a, ahead[a]);
  CellState<float> state = LoadState(o, frame, channel);
  float out = 0;
  if (thread < kDim) y[0][thread] = real ? frame[o.y + channel] : 0;
  __syncwarp();

  for (uint32_t begin = 0; begin < s.steps; begin += kAhead) {
#pragma unroll
    for (int a = 0; a < kAhead; ++a) {
      const uint32_t t = begin + a;
      if (t >= s.steps) break;
      const float4* last = reinterpret_cast<const float4*>(y[a % 2]);
      float sums[4][2] = {};
#pragma unroll
      for (int k = 0; k < kDim / 4; ++k) {
        const float4 v = last[k];
#pragma unroll
        for (int g = 0; g < 4; ++g) {
          sums[g][0] = fmaf(r[g][4 * k], v.x, sums[g][0]);
          sums[g][1] = fmaf(r[g][4 * k + 1], v.y, sums[g][1]);
          sums[g][0] = fmaf(r[g][4 * k + 2], v.z, sums[g][0]);
          sums[g][1] = fmaf(r[g][4 * k + 3], v.w, sums[g][1]);
        }
      }
      float raw[4];
#pragma unroll
      for (int g = 0; g < 4; ++g) raw[g] = (ahead[a][g] + (sums[g][0] + sums[g][1])) + bias[g];
      fetch(t + kAhead, ahead[a]);
      out = Step(o, raw[0], raw[1], raw[2], raw[3], &state);
      if (thread < kDim) y[(a + 1) % 2][thread] = real ? out : 0;
      if (real) tokens[t * s.tokens.stride + o.out + channel] = out;
      __syncwarp();
    }
  }
  if (real) StoreState(o, frame, channel, state, out);
}

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
cudaError_t LaunchWarp(const SlstmCell& o, const Sequence<float>& s, cudaStream_t stream) {
  const uint32_t heads = o.channels / o.dim, tasks = heads * s.state.lanes;
  WarpScanKernel<W, kDim><<<(tasks + kWarps - 1) / kWarps, kWarps * 32, 0, stream>>>(o, s, heads);
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
  if (o.dim <= 8) return LaunchWarp<W, 8>(o, s, stream);
  if (o.dim <= 16) return LaunchWarp<W, 16>(o, s, stream);
  if (o.dim <= 32) return LaunchWarp<W, 32>(o, s, stream);
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
