#include "kernels/cuda/math.cuh"
#include "kernels/cuda/sequence.h"

namespace xst::kernels::cuda {
namespace {

// kPart threads a head of a token.
template <class T, int kPart>
__global__ void __launch_bounds__(256) OutKernel(SlstmOut o, Frames<T> tokens) {
  const size_t task = (size_t{blockIdx.x} * 256 + threadIdx.x) / kPart;
  const uint32_t part = threadIdx.x % kPart;
  const bool real = task < size_t{tokens.lanes} * o.heads;
  const size_t token = real ? task / o.heads : 0;
  const uint32_t at = real ? task % o.heads * o.dim : 0;
  const T* out = tokens.data + token * tokens.stride + o.out + at;
  T* x = tokens.data + token * tokens.stride + o.x + at;
  const T first = out[0];
  T sum = 0;
  for (uint32_t d = part; d < o.dim; d += kPart) sum += out[d] - first;
  const T mean = SumOver<kPart>(sum) / T(o.dim);
  T squares = 0;
  for (uint32_t d = part; d < o.dim; d += kPart) {
    const T centered = out[d] - first - mean;
    squares = MulAdd(centered, centered, squares);
  }
  const T scale = T(1) / sqrt(SumOver<kPart>(squares) / T(o.dim) + T(o.eps));
  if (!real) return;
  for (uint32_t d = part; d < o.dim; d += kPart) {
    const T normed = (out[d] - first - mean) * scale;
    x[d] += o.weight ? normed * (T(1) + T(o.weight[at + d])) : normed;
  }
}

}  // namespace

template <class T>
cudaError_t LaunchSequence(const SlstmOut& o, const Sequence<T>& s, cudaStream_t stream) {
  if (s.steps == 0 || s.state.lanes == 0) return cudaSuccess;
  const size_t tasks = size_t{s.tokens.lanes} * o.heads;
  const auto grid = [&](uint32_t part) {
    return static_cast<uint32_t>((tasks * part + 255) / 256);
  };
  if (o.dim <= 8) {
    OutKernel<T, 4><<<grid(4), 256, 0, stream>>>(o, s.tokens);
  } else if (o.dim <= 64) {
    OutKernel<T, 16><<<grid(16), 256, 0, stream>>>(o, s.tokens);
  } else {
    OutKernel<T, 32><<<grid(32), 256, 0, stream>>>(o, s.tokens);
  }
  return cudaGetLastError();
}

template cudaError_t LaunchSequence(const SlstmOut&, const Sequence<float>&, cudaStream_t);
template cudaError_t LaunchSequence(const SlstmOut&, const Sequence<double>&, cudaStream_t);

}  // namespace xst::kernels::cuda
