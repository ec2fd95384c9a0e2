// The front of an mLSTM block whose q, k and v take four channels from four: a thread has four
// channels of four tokens in registers; shared memory holds the weights, and what each thread reads
// next.
#pragma once

#include "kernels/cuda/copy_async.cuh"
#include "kernels/cuda/dependent_launch.cuh"
#include "kernels/cuda/lane.cuh"
#include "kernels/cuda/math.cuh"
#include "kernels/cuda/sequence_qkv.h"
#include "kernels/cuda/weights.cuh"

namespace xst::kernels::cuda {

struct Fours {
  static constexpr int kThreads = 256, kWarps = kThreads / 32;
  static constexpr int kKernel = 4, kPast = kKernel - 1;
  static constexpr int kTokens = 4,
                       kGates = 8;   // of a warp at a time: its 32 sums are one a thread
  static constexpr int kGroups = 2;  // of kTokens of a warp
  static constexpr int kTile = kWarps * kGroups * kTokens;
  // Shared rows of all channels: the convolution, its bias, then of q, k and v the rows of their
  // blocks, the biases and what the gates take from them.
  static constexpr int kConv = 0, kConvBias = kConv + kKernel, kBlocks = kConvBias + 1,
                       kBias = kBlocks + 3 * 4, kOfGates = kBias + 3,
                       kShared = kOfGates + 3 * kGates;
  // Of a thread: four channels of the tokens and of those in front of them, this time's and next's.
  static constexpr int kRows = kPast + kTokens;
  static size_t Bytes(uint32_t channels) {
    return sizeof(float) * kShared * channels + sizeof(float4) * 2 * kRows * kThreads;
  }
};

// w[row][k ... k + 3], k a multiple of 4.
template <class W>
__device__ float4 FourNumbers(const Matrix& w, uint32_t row, uint32_t k) {
  using Element = typename W::Element;
  struct alignas(4 * sizeof(Element)) Four {
    Element e[4];
  };
  const Four f = *reinterpret_cast<const Four*>(static_cast<const Element*>(w.data) +
                                                row * RowStride(w.dtype, w.cols) + k);
  const float scale = W::kScaled ? w.scale[row] : 1;
  return {W::Number(f.e[0]) * scale, W::Number(f.e[1]) * scale, W::Number(f.e[2]) * scale,
          W::Number(f.e[3]) * scale};
}

__device__ inline float DotFour(const float4& w, const float4& x, float sum) {
  return fmaf(w.w, x.w, fmaf(w.z, x.z, fmaf(w.y, x.y, fmaf(w.x, x.x, sum))));
}

__device__ inline void ShareFours(const QkvOps& o, float4* shared) {
  const uint32_t channels = o.conv.channels, across = channels / 4, thread = threadIdx.x;
  auto* numbers = reinterpret_cast<float*>(shared);
  for (uint32_t c = thread; c < channels; c += Fours::kThreads) {
#pragma unroll
    for (int j = 0; j < Fours::kKernel; ++j) {
      numbers[(Fours::kConv + j) * channels + c] = o.conv.weight[j * o.conv.stride + c];
    }
    numbers[Fours::kConvBias * channels + c] = o.conv.bias[c];
  }
  const BlockLinear* const blocks[3] = {&o.q, &o.k, &o.v};
#pragma unroll
  for (int p = 0; p < 3; ++p) {
    const BlockLinear& block = *blocks[p];
    WithWeights(block.w.dtype, [&](auto type) {
      for (uint32_t c = thread; c < channels; c += Fours::kThreads) {
        shared[(Fours::kBlocks + p * 4 + c % 4) * across + c / 4] =
            FourNumbers<decltype(type)>(block.w, c, 0);
      }
    });
    for (uint32_t c = thread; c < channels; c += Fours::kThreads) {
      numbers[(Fours::kBias + p) * channels + c] = block.bias ? block.bias[c] : 0;
    }
  }
  WithWeights(o.gates.w.dtype, [&](auto type) {
#pragma unroll 2
    for (uint32_t i = thread; i < 3 * Fours::kGates * across; i += Fours::kThreads) {
      const uint32_t at = i % across, p = i / across / Fours::kGates;
      const uint32_t row = i / across % Fours::kGates;
      shared[Fours::kOfGates * across + i] =
          row < o.gates.w.rows ? FourNumbers<decltype(type)>(o.gates.w, row, p * channels + at * 4)
                               : float4{};
    }
  });
}

// The sum of v[i] over the warp in its thread i.
template <int kHalf, int kValues>
__device__ float SumEach(const float (&v)[kValues]) {
  static_assert(kValues == 2 * kHalf);
  const bool high = threadIdx.x & kHalf;
  float sums[kHalf];
#pragma unroll
  for (int i = 0; i < kHalf; ++i) {
    const float give = high ? v[i] : v[i + kHalf];
    sums[i] = (high ? v[i + kHalf] : v[i]) + __shfl_xor_sync(0xffffffffu, give, kHalf);
  }
  if constexpr (kHalf == 1) {
    return sums[0];
  } else {
    return SumEach<kHalf / 2>(sums);
  }
}

// A block: kTile tokens of one lane. kStore: q, k and v are written.
template <bool kStore>
__global__ void __launch_bounds__(Fours::kThreads, 2)
    FoursKernel(const __grid_constant__ QkvOps o, const __grid_constant__ Sequence<float> s,
                uint32_t tiles) {
  using F = Fours;
  extern __shared__ __align__(16) float4 shared_fours[];
  ShareFours(o, shared_fours);
  WaitForPredecessor();
  LetSuccessorStart();
  const size_t lane = blockIdx.x / tiles, stride = s.tokens.stride;
  if (!IsActive(s.state, lane)) return;
  __syncthreads();
  const uint32_t channels = o.conv.channels, across = channels / 4, thread = threadIdx.x % 32;
  const int steps = s.steps;
  float* const tokens = s.tokens.data + lane * s.steps * stride;
  float* const state = s.state.data + lane * s.state.stride + o.conv.history;
  const auto four = [](float* at) -> float4& { return *reinterpret_cast<float4*>(at); };

  // A warp goes through its groups of tokens, and through 128 channels of a group at a time.
  const uint32_t times = (across + 31) / 32;
  const int warp_begin = static_cast<int>(blockIdx.x % tiles) * F::kTile +
                         static_cast<int>(threadIdx.x / 32) * F::kGroups * F::kTokens;
  float4* const rows = shared_fours + F::kShared * across + threadIdx.x;
  const auto copy = [&](int group, uint32_t time) {
    const int begin = warp_begin + group * F::kTokens;
    const uint32_t at = time * 32 + thread, buffer = (group * times + time) % 2;
    if (group < F::kGroups && begin < steps && at < across) {
#pragma unroll
      for (int j = 0; j < F::kRows; ++j) {
        const int t = begin + j - F::kPast;
        float4* const to = rows + (buffer * F::kRows + j) * F::kThreads;
        if (t >= 0) {
          CopyAsync16(to, tokens + min(t, steps - 1) * stride + o.conv.x + at * 4,
                      t < steps ? 16 : 0);
        } else {
          const float* from = state + (t + F::kPast) * o.conv.stride + at * 4;
#pragma unroll
          for (int i = 0; i < 4; ++i) CopyAsync4(reinterpret_cast<float*>(to) + i, from + i, 4);
        }
      }
    }
    CommitCopies();
  };
  copy(0, 0);
#pragma unroll 1
  for (int group = 0; group < F::kGroups; ++group) {
    const int begin = warp_begin + group * F::kTokens;
    if (begin >= steps) return;
    float* const first = tokens + begin * stride;
    float sums[F::kGates * F::kTokens] = {};
#pragma unroll 1
    for (uint32_t time = 0; time < times; ++time) {
      if (time + 1 < times) {
        copy(group, time + 1);
      } else {
        copy(group + 1, 0);
      }
      WaitCopies<1>();
      const uint32_t at = time * 32 + thread;
      if (at >= across) continue;
      const float4* const w = shared_fours + at;
      float* const token = first + at * 4;
      float* const history = state + at * 4;
      float4 a[F::kRows], c[F::kTokens];
#pragma unroll
      for (int j = 0; j < F::kRows; ++j) {
        a[j] = rows[((group * times + time) % 2 * F::kRows + j) * F::kThreads];
      }
      // Only the first tokens of a lane meet its history; ascending, as in sequence_conv.cu.
      if (begin == 0) {
        for (int j = 0; j < F::kPast; ++j) {
          const int t = steps - F::kPast + j;
          for (int i = 0; i < 4; ++i) {
            history[j * o.conv.stride + i] = t < 0 ? history[(j + steps) * o.conv.stride + i]
                                                   : tokens[t * stride + o.conv.x + at * 4 + i];
          }
        }
      }
#pragma unroll
      for (int e = 0; e < F::kTokens; ++e) c[e] = {};
#pragma unroll
      for (int j = 0; j < F::kKernel; ++j) {
        const float4 tap = w[(F::kConv + j) * across];
#pragma unroll
        for (int e = 0; e < F::kTokens; ++e) {
          c[e] = {fmaf(a[e + j].x, tap.x, c[e].x), fmaf(a[e + j].y, tap.y, c[e].y),
                  fmaf(a[e + j].z, tap.z, c[e].z), fmaf(a[e + j].w, tap.w, c[e].w)};
        }
      }
      const float4 bias = w[F::kConvBias * across];
#pragma unroll
      for (int e = 0; e < F::kTokens; ++e) {
        c[e] = {Silu(c[e].x + bias.x), Silu(c[e].y + bias.y), Silu(c[e].z + bias.z),
                Silu(c[e].w + bias.w)};
        if (begin + e < steps) four(token + e * stride + o.conv.y) = c[e];
      }
#pragma unroll
      for (int p = 0; p < 3; ++p) {
        const float4 w0 = w[(F::kBlocks + p * 4) * across],
                     w1 = w[(F::kBlocks + p * 4 + 1) * across];
        const float4 w2 = w[(F::kBlocks + p * 4 + 2) * across];
        const float4 w3 = w[(F::kBlocks + p * 4 + 3) * across], b = w[(F::kBias + p) * across];
        float4 y[F::kTokens];
#pragma unroll
        for (int e = 0; e < F::kTokens; ++e) {
          const float4 x = p == 2 ? a[F::kPast + e] : c[e];
          y[e] = {DotFour(w0, x, 0) + b.x, DotFour(w1, x, 0) + b.y, DotFour(w2, x, 0) + b.z,
                  DotFour(w3, x, 0) + b.w};
          if (kStore && begin + e < steps) {
            four(token + e * stride + o.q.y + p * channels) = y[e];
          }
        }
#pragma unroll
        for (int r = 0; r < F::kGates; ++r) {
          if (r >= static_cast<int>(o.gates.w.rows)) break;
          const float4 g = w[(F::kOfGates + p * F::kGates + r) * across];
#pragma unroll
          for (int e = 0; e < F::kTokens; ++e) {
            sums[r * F::kTokens + e] = DotFour(g, y[e], sums[r * F::kTokens + e]);
          }
        }
      }
    }
    const float sum = SumEach<16>(sums);
    const uint32_t r = thread / F::kTokens, e = thread % F::kTokens;
    if (r < o.gates.w.rows && begin + static_cast<int>(e) < steps) {
      first[e * stride + o.gates.y + r] = sum + (o.gates.bias ? o.gates.bias[r] : 0);
    }
  }
}

}  // namespace xst::kernels::cuda
