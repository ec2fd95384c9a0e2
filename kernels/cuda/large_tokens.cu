#include "kernels/cuda/large_tokens.h"

#include "kernels/cuda/activation.cuh"
#include "kernels/cuda/row_task.cuh"
#include "kernels/cuda/weights.cuh"

namespace xst::kernels::cuda {
namespace {

constexpr uint32_t kThreads = 256;
constexpr uint32_t kWarps = kThreads / 32;
constexpr uint32_t kGateTokens = 4;  // of a block with gates

uint32_t Blocks(size_t n, size_t of) { return static_cast<uint32_t>((n + of - 1) / of); }

template <class W>
__global__ void EmbedKernel(Embed o, size_t row_stride, const float* ids, TokenPlace place,
                            uint32_t steps, TokenRows<float> x) {
  const uint32_t token = blockIdx.x;
  const float id = ids[token / steps * place.lane + token % steps * place.step];
  const uint32_t row = min(static_cast<uint32_t>(id), o.table.rows - 1);
  const auto* from = static_cast<const typename W::Element*>(o.table.data) + row * row_stride;
  const float scale = W::kScaled ? o.table.scale[row] : 1;
  for (uint32_t c = threadIdx.x; c < o.table.cols; c += kThreads) {
    x.data[token * x.ld + c] = W::Number(from[c]) * scale;
  }
}

// kTokens tokens a block, so that a gate's weights are read once for all of them; they stay in
// registers, 16 columns of a piece a thread, as in a RowTask.
template <class W, int kPieces, int kTokens>
__global__ void __launch_bounds__(kThreads, kPieces* kTokens == 1 ? 4 : 2)
    NormKernel(const __grid_constant__ RowTask a, uint32_t tokens, TokenRows<float> x,
               TokenRows<__nv_bfloat16> u, TokenRows<float> y) {
  using Work = RowWork<W, 1, kPieces, kTokens>;
  __shared__ float sums[kWarps * 16 * kTokens];
  const uint32_t first = blockIdx.x * kTokens, count = min(tokens - first, uint32_t{kTokens});
  const uint32_t warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const Frames<float> rows{x.data + first * x.ld, x.ld, count, nullptr};
  typename Work::X v;
  typename Work::Vector weight;
  if (a.norm.weight) Work::LoadVector(a.norm.weight, a.cols, weight);
  Work::LoadX(a, rows, v);
  Work::Normalise(a, rows, weight, sums, v);
#pragma unroll
  for (int i = 0; i < kTokens; ++i) {
    if (i >= count) break;
    __nv_bfloat16* to = u.data + (first + i) * u.ld;
#pragma unroll
    for (int c = 0; c < Work::kChunks; ++c) {
      const uint32_t at = (threadIdx.x + c * kThreads) * Work::kElements;
#pragma unroll
      for (int e = 0; e < Work::kElements; e += 2) {
        const float* from = v[i] + c * Work::kElements + e;
        if (at + e + 1 < a.cols) {
          *reinterpret_cast<__nv_bfloat162*>(to + at + e) = __floats2bfloat162_rn(from[0], from[1]);
        } else if (at + e < a.cols) {
          to[at + e] = __float2bfloat16_rn(from[0]);
        }
      }
    }
  }
  // The gates: 4 rows at once, from L2.
  const RowSet& gates = a.part[0];
  constexpr int kStage = 4, kValues = kStage * kTokens;
  for (uint32_t base = 0; base < gates.rows; base += kStage) {
    float acc[kValues] = {};
#pragma unroll
    for (int c = 0; c < Work::kChunks; ++c) {
      const uint32_t chunk = threadIdx.x + c * kThreads;
      uint4 q[kStage] = {};
#pragma unroll
      for (int r = 0; r < kStage; ++r) {
        if (chunk < a.chunks && base + r < gates.rows) {
          q[r] = *reinterpret_cast<const uint4*>(gates.w + (base + r) * a.row_bytes + chunk * 16);
        }
      }
#pragma unroll
      for (int r = 0; r < kStage; ++r) {
        float w[Work::kElements];
        Unpack<W>::To(q[r], w);
#pragma unroll
        for (int e = 0; e < Work::kElements; ++e) {
#pragma unroll
          for (int i = 0; i < kTokens; ++i) {
            acc[r * kTokens + i] =
                MulAdd(w[e], v[i][c * Work::kElements + e], acc[r * kTokens + i]);
          }
        }
      }
    }
    const float sum = SumValues(acc, lane);
    __syncthreads();
    if (lane % (32 / kValues) == 0) sums[lane / (32 / kValues) * kWarps + warp] = sum;
    __syncthreads();
    const uint32_t row = base + threadIdx.x / kTokens, token = threadIdx.x % kTokens;
    if (threadIdx.x < kValues && row < gates.rows && token < count) {
      y.data[(first + token) * y.ld + row] =
          Work::Finished(gates, row, sums + threadIdx.x * kWarps);
    }
  }
}

// A warp a head and token; up to 512 elements of h stay in registers.
__global__ void __launch_bounds__(kThreads)
    GateHeadKernel(MlstmOut o, uint32_t lanes, uint32_t steps, HeadRows h, TokenRows<const float> z,
                   TokenRows<__nv_bfloat16> y) {
  const uint32_t i = blockIdx.x * kWarps + threadIdx.x / 32, lane = threadIdx.x % 32;
  const uint32_t token = i / o.heads, head = i % o.heads;
  if (token >= lanes * steps) return;
  constexpr uint32_t kHeld = 16;
  const size_t at = size_t{head} * o.dim;
  const size_t of_lane = token / steps, step = token % steps;
  const float* in = h.h + of_lane * h.lane + head * h.head + step * h.step;
  const float inverse_den = 1 / h.den[of_lane * h.den_lane + head * h.den_head + step * h.den_step];
  const float* gate = z.data + token * z.ld + at;
  __nv_bfloat16* out = y.data + token * y.ld + at;
  const float shift = in[0] * inverse_den;
  float held[kHeld], gates[kHeld];
#pragma unroll
  for (uint32_t j = 0; j < kHeld; ++j) {
    const uint32_t c = lane + 32 * j;
    held[j] = c < o.dim ? in[c] * inverse_den - shift : 0;
    gates[j] = c < o.dim ? gate[c] : 0;
  }
  float sum = 0, squares = 0;
#pragma unroll
  for (uint32_t j = 0; j < kHeld; ++j) sum += held[j];
  for (uint32_t c = lane + 32 * kHeld; c < o.dim; c += 32) sum += in[c] * inverse_den - shift;
  const float mean = SumOver<32>(sum) / static_cast<float>(o.dim);
#pragma unroll
  for (uint32_t j = 0; j < kHeld; ++j) {
    const float d = held[j] - mean;
    if (lane + 32 * j < o.dim) squares = MulAdd(d, d, squares);
  }
  for (uint32_t c = lane + 32 * kHeld; c < o.dim; c += 32) {
    const float d = in[c] * inverse_den - shift - mean;
    squares = MulAdd(d, d, squares);
  }
  const float inverse = 1 / sqrtf(SumOver<32>(squares) / static_cast<float>(o.dim) + o.eps);
  const auto finish = [&](uint32_t c, float from_first, float z_c) {
    float v = (from_first - mean) * inverse * (o.weight[at + c] + o.weight_offset);
    if (o.bias) v += o.bias[at + c];
    out[c] = __float2bfloat16_rn(v * (o.sigmoid ? Sigmoid(z_c) : Silu(z_c)));
  };
#pragma unroll
  for (uint32_t j = 0; j < kHeld; ++j) {
    if (lane + 32 * j < o.dim) finish(lane + 32 * j, held[j], gates[j]);
  }
  for (uint32_t c = lane + 32 * kHeld; c < o.dim; c += 32)
    finish(c, in[c] * inverse_den - shift, gate[c]);
}

// 8 neighbours a thread; kVector: they lie together in both halves.
template <bool kVector>
__global__ void __launch_bounds__(kThreads)
    GatedActKernel(GatedAct o, const float* bias, TokenRows<const __nv_bfloat16> up,
                   TokenRows<__nv_bfloat16> y) {
  const uint32_t first = (blockIdx.x * kThreads + threadIdx.x) * 8, token = blockIdx.y;
  if (first >= o.size) return;
  const __nv_bfloat16* gate = up.data + token * up.ld + first;
  const __nv_bfloat16* linear = gate + o.size;
  const uint32_t n = min(8u, o.size - first);
  __align__(16) __nv_bfloat16 g[8], l[8];
  if constexpr (kVector) {
    *reinterpret_cast<uint4*>(g) = *reinterpret_cast<const uint4*>(gate);
    *reinterpret_cast<uint4*>(l) = *reinterpret_cast<const uint4*>(linear);
  } else {
#pragma unroll
    for (uint32_t i = 0; i < 8; ++i) {
      if (i < n) g[i] = gate[i], l[i] = linear[i];
    }
  }
#pragma unroll
  for (uint32_t i = 0; i < 8; ++i) {
    if (!kVector && i >= n) continue;
    float a = __bfloat162float(g[i]), b = __bfloat162float(l[i]);
    if (bias) a += bias[first + i], b += bias[o.size + first + i];
    g[i] = __float2bfloat16_rn(Activate(o.act, a) * b);
  }
  __nv_bfloat16* to = y.data + token * y.ld + first;
  if constexpr (kVector) {
    *reinterpret_cast<uint4*>(to) = *reinterpret_cast<const uint4*>(g);
  } else {
#pragma unroll
    for (uint32_t i = 0; i < 8; ++i) {
      if (i < n) to[i] = g[i];
    }
  }
}

__global__ void AddBiasKernel(const float* bias, uint32_t size, TokenRows<float> x) {
  const uint32_t c = blockIdx.x * kThreads + threadIdx.x;
  if (c < size) x.data[blockIdx.y * x.ld + c] += bias[c];
}

__global__ void SoftCapKernel(float cap, uint32_t size, TokenRows<float> x) {
  const uint32_t c = blockIdx.x * kThreads + threadIdx.x;
  if (c >= size) return;
  float& v = x.data[blockIdx.y * x.ld + c];
  v = cap * tanhf(v / cap);
}

__global__ void RoundKernel(uint32_t size, TokenRows<const float> x, TokenRows<__nv_bfloat16> u) {
  const uint32_t c = blockIdx.x * kThreads + threadIdx.x;
  if (c < size) u.data[blockIdx.y * u.ld + c] = __float2bfloat16_rn(x.data[blockIdx.y * x.ld + c]);
}

__global__ void CopyKernel(TokenRows<const float> from, uint32_t size, uint32_t first,
                           uint32_t steps, TokenPlace place, float* to) {
  const uint32_t c = blockIdx.x * kThreads + threadIdx.x, token = first + blockIdx.y;
  if (c >= size) return;
  to[token / steps * place.lane + token % steps * place.step + c] =
      from.data[blockIdx.y * from.ld + c];
}

// 8 neighbours a thread: a row of either type is padded to more than that, with zeros.
template <class W>
__global__ void __launch_bounds__(kThreads)
    ToBf16Kernel(const typename W::Element* w, const float* scale, size_t stride, uint32_t cols,
                 __nv_bfloat16* to, size_t to_stride) {
  const uint32_t first = (blockIdx.x * kThreads + threadIdx.x) * 8;
  if (first >= to_stride) return;
  const size_t row = blockIdx.y;
  using Element = typename W::Element;
  struct alignas(8 * sizeof(Element) > 16 ? 16 : 8 * sizeof(Element)) Eight {
    Element e[8];
  };
  Eight in = {};
  if (first < cols) in = *reinterpret_cast<const Eight*>(w + row * stride + first);
  const float factor = W::kScaled ? scale[row] : 1;
  __align__(16) __nv_bfloat16 out[8];
#pragma unroll
  for (int i = 0; i < 8; ++i) out[i] = __float2bfloat16_rn(W::Number(in.e[i]) * factor);
  *reinterpret_cast<uint4*>(to + row * to_stride + first) = *reinterpret_cast<const uint4*>(out);
}

}  // namespace

cudaError_t EmbedTokens(const Embed& o, const float* ids, TokenPlace place, uint32_t lanes,
                        uint32_t steps, TokenRows<float> x, cudaStream_t stream) {
  WithWeights(o.table.dtype, [&]<class W>(W) {
    EmbedKernel<W><<<lanes * steps, kThreads, 0, stream>>>(
        o, RowStride(o.table.dtype, o.table.cols), ids, place, steps, x);
  });
  return cudaGetLastError();
}

bool NormTokensFits(uint32_t size) { return size <= kWidePieces * kPieceColumns; }

cudaError_t NormTokens(const Norm& o, uint32_t tokens, TokenRows<float> x,
                       TokenRows<__nv_bfloat16> u, const Linear* gates, TokenRows<float> y,
                       cudaStream_t stream) {
  RowTask a = {};
  a.cols = o.size;
  a.has_norm = true;
  a.norm = o;
  a.norm.x = 0;
  const bool narrow = o.size <= kPieceColumns;
  if (!gates) {
    const auto kernel =
        narrow ? NormKernel<WeightF32, 1, 1> : NormKernel<WeightF32, kWidePieces, 1>;
    kernel<<<tokens, kThreads, 0, stream>>>(a, tokens, x, u, y);
    return cudaGetLastError();
  }
  const Matrix& w = gates->w;
  a.part[0] = {static_cast<const uint8_t*>(w.data), w.scale, gates->bias, w.rows, 0};
  a.row_bytes = RowStride(w.dtype, w.cols) * SizeOf(w.dtype);
  a.chunks = static_cast<uint32_t>(a.row_bytes / 16);
  WithWeights(w.dtype, [&]<class W>(W) {
    if (narrow) {
      NormKernel<W, 1, kGateTokens>
          <<<Blocks(tokens, kGateTokens), kThreads, 0, stream>>>(a, tokens, x, u, y);
    } else {
      NormKernel<W, kWidePieces, 1><<<tokens, kThreads, 0, stream>>>(a, tokens, x, u, y);
    }
  });
  return cudaGetLastError();
}

cudaError_t GateHeadTokens(const MlstmOut& o, uint32_t lanes, uint32_t steps, const HeadRows& h,
                           TokenRows<const float> z, TokenRows<__nv_bfloat16> y,
                           cudaStream_t stream) {
  const uint32_t blocks = Blocks(size_t{lanes} * steps * o.heads, kWarps);
  GateHeadKernel<<<blocks, kThreads, 0, stream>>>(o, lanes, steps, h, z, y);
  return cudaGetLastError();
}

cudaError_t GatedActTokens(const GatedAct& o, const float* bias, uint32_t tokens,
                           TokenRows<const __nv_bfloat16> up, TokenRows<__nv_bfloat16> y,
                           cudaStream_t stream) {
  const dim3 grid(Blocks(o.size, 8 * kThreads), tokens);
  if (o.size % 8 == 0) {
    GatedActKernel<true><<<grid, kThreads, 0, stream>>>(o, bias, up, y);
  } else {
    GatedActKernel<false><<<grid, kThreads, 0, stream>>>(o, bias, up, y);
  }
  return cudaGetLastError();
}

cudaError_t AddBiasTokens(const float* bias, uint32_t size, uint32_t tokens, TokenRows<float> x,
                          cudaStream_t stream) {
  AddBiasKernel<<<dim3(Blocks(size, kThreads), tokens), kThreads, 0, stream>>>(bias, size, x);
  return cudaGetLastError();
}

cudaError_t SoftCapTokens(float cap, uint32_t size, uint32_t tokens, TokenRows<float> x,
                          cudaStream_t stream) {
  SoftCapKernel<<<dim3(Blocks(size, kThreads), tokens), kThreads, 0, stream>>>(cap, size, x);
  return cudaGetLastError();
}

cudaError_t RoundTokens(uint32_t size, uint32_t tokens, TokenRows<const float> x,
                        TokenRows<__nv_bfloat16> u, cudaStream_t stream) {
  RoundKernel<<<dim3(Blocks(size, kThreads), tokens), kThreads, 0, stream>>>(size, x, u);
  return cudaGetLastError();
}

cudaError_t CopyTokens(TokenRows<const float> from, uint32_t size, uint32_t rows, uint32_t first,
                       uint32_t steps, TokenPlace place, float* to, cudaStream_t stream) {
  CopyKernel<<<dim3(Blocks(size, kThreads), rows), kThreads, 0, stream>>>(from, size, first, steps,
                                                                          place, to);
  return cudaGetLastError();
}

cudaError_t ToBf16(const Matrix& w, uint32_t first, uint32_t rows, __nv_bfloat16* to,
                   cudaStream_t stream) {
  const size_t stride = RowStride(w.dtype, w.cols), to_stride = RowStride(DType::bf16, w.cols);
  // A grid has at most 65,535 blocks in y.
  constexpr uint32_t kMost = 32768;
  for (uint32_t done = 0; done < rows; done += kMost) {
    const dim3 grid(Blocks(to_stride, 8 * kThreads), rows - done < kMost ? rows - done : kMost);
    WithWeights(w.dtype, [&]<class W>(W) {
      const size_t row = first + done;
      ToBf16Kernel<W><<<grid, kThreads, 0, stream>>>(
          static_cast<const typename W::Element*>(w.data) + row * stride,
          W::kScaled ? w.scale + row : nullptr, stride, w.cols, to + done * to_stride, to_stride);
    });
    if (const cudaError_t e = cudaGetLastError()) return e;
  }
  return cudaSuccess;
}

}  // namespace xst::kernels::cuda
