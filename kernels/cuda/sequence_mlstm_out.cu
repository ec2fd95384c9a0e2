#include "kernels/cuda/math.cuh"
#include "kernels/cuda/sequence.h"

namespace xst::kernels::cuda {
namespace {

constexpr uint32_t kThreads = 256;

__device__ inline float4 Four(const float* at) { return *reinterpret_cast<const float4*>(at); }

// kPart threads a head of a token, four neighbouring channels each.
template <int kPart>
__global__ void __launch_bounds__(kThreads) OutKernel(MlstmOut o, Frames<float> tokens) {
  const size_t task = (size_t{blockIdx.x} * kThreads + threadIdx.x) / kPart;
  const uint32_t channel = threadIdx.x % kPart * 4;
  const bool real = task < size_t{tokens.lanes} * o.heads && channel < o.dim;
  const uint32_t at = real ? static_cast<uint32_t>(task % o.heads) * o.dim + channel : 0;
  float* token = tokens.data + (real ? task / o.heads * tokens.stride : 0);
  float4 h = {}, c = {}, z = {}, skip = {}, bias = {}, weight = {};
  if (real) {
    h = Four(token + o.h + at);
    z = Four(token + o.z + at);
    weight = Four(o.weight + at);
    if (o.skip) {
      c = Four(token + o.c + at);
      skip = Four(o.skip + at);
    }
    if (o.bias) bias = Four(o.bias + at);
  }
  const float first = __shfl_sync(0xffffffffu, h.x, threadIdx.x % 32 / kPart * kPart);
  float v[4] = {h.x - first, h.y - first, h.z - first, h.w - first};
  const float sum = real ? (v[0] + v[1]) + (v[2] + v[3]) : 0;
  const float mean = SumOver<kPart>(sum) / static_cast<float>(o.dim);
  float squares = 0;
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    v[i] -= mean;
    squares = fmaf(v[i], v[i], squares);
  }
  if (!real) squares = 0;
  const float scale = 1 / sqrtf(SumOver<kPart>(squares) / static_cast<float>(o.dim) + o.eps);
  if (!real) return;
  const float w[4] = {weight.x, weight.y, weight.z, weight.w},
              b[4] = {bias.x, bias.y, bias.z, bias.w};
  const float s[4] = {skip.x, skip.y, skip.z, skip.w}, in[4] = {c.x, c.y, c.z, c.w};
  const float gate[4] = {z.x, z.y, z.z, z.w};
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const float y = fmaf(s[i], in[i], v[i] * scale * (w[i] + o.weight_offset) + b[i]);
    v[i] = y * (o.sigmoid ? Sigmoid(gate[i]) : Silu(gate[i]));
  }
  *reinterpret_cast<float4*>(token + o.y + at) = {v[0], v[1], v[2], v[3]};
}

}  // namespace

bool FitsSequence(const MlstmOut& o, const Sequence<float>& s) {
  const auto aligned = [](const float* at) { return reinterpret_cast<uintptr_t>(at) % 16 == 0; };
  const float* data = s.tokens.data;
  return o.dim % 4 == 0 && o.dim <= 128 && s.tokens.stride % 4 == 0 && aligned(data + o.h) &&
         aligned(data + o.z) && aligned(data + o.y) && aligned(o.weight) && aligned(o.bias) &&
         aligned(o.skip) && (!o.skip || aligned(data + o.c));
}

cudaError_t LaunchSequence(const MlstmOut& o, const Sequence<float>& s, cudaStream_t stream) {
  const size_t tasks = size_t{s.tokens.lanes} * o.heads;
  if (tasks == 0) return cudaSuccess;
  if (o.dim <= 64) {
    OutKernel<16>
        <<<static_cast<uint32_t>((tasks * 16 + kThreads - 1) / kThreads), kThreads, 0, stream>>>(
            o, s.tokens);
  } else {
    OutKernel<32>
        <<<static_cast<uint32_t>((tasks * 32 + kThreads - 1) / kThreads), kThreads, 0, stream>>>(
            o, s.tokens);
  }
  return cudaGetLastError();
}

}  // namespace xst::kernels::cuda
