#include "kernels/cuda/lane.cuh"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/mlstm_decay.cuh"

namespace xst::kernels::cuda {
namespace {

constexpr uint32_t kRows = 256;  // of C whose q and k are at hand at once

// A block a head; a thread goes down columns of C, so that C is read and written once.
template <class T>
__global__ void MlstmCellKernel(MlstmCell o, Frames<T> frames) {
  __shared__ T q[kRows], k[kRows], scratch[33];
  const Part part = PartOf(o.heads);
  const uint32_t head = part.index;
  T* frame = ActiveFrame(frames, part.lane);
  if (!frame) return;
  T* const m = frame + o.m + head;
  const MlstmDecay<T> d = DecayOf(o, frame, head);
  const T root = sqrt(T(o.dk));
  T* const n = frame + o.n + size_t{head} * o.stride_n;
  T dot = 0;
  for (uint32_t j = threadIdx.x; j < o.dk; j += blockDim.x) {
    T qj = frame[o.q + head * o.dk + j], kj = frame[o.k + head * o.dk + j];
    (o.scale_key ? kj : qj) /= root;
    const T nj = MulAdd(d.keep, n[j], d.add * kj);
    dot = MulAdd(qj, nj, dot);
    n[j] = Rounded(nj);
  }
  dot = BlockSum(dot, scratch);  // its barriers also end every reading of m
  if (threadIdx.x == 0) *m = Rounded(d.m);
  const T scale = T(1) / (fmax(fabs(dot), exp(-d.m)) + T(o.eps));

  for (uint32_t first = 0; first < o.dv; first += blockDim.x) {
    const uint32_t column = first + threadIdx.x;
    const bool mine = column < o.dv;
    const T v = mine ? frame[o.v + head * o.dv + column] : T(0);
    T* c = frame + o.c + size_t{head} * o.dk * o.stride_c + column;
    T h = 0;
    for (uint32_t begin = 0; begin < o.dk; begin += kRows) {
      const uint32_t rows = min(kRows, o.dk - begin);
      __syncthreads();
      for (uint32_t j = threadIdx.x; j < rows; j += blockDim.x) {
        T qj = frame[o.q + head * o.dk + begin + j], kj = frame[o.k + head * o.dk + begin + j];
        (o.scale_key ? kj : qj) /= root;
        q[j] = qj;
        k[j] = d.add * kj;
      }
      __syncthreads();
      if (!mine) continue;
#pragma unroll 4
      for (uint32_t j = 0; j < rows; ++j, c += o.stride_c) {
        const T cj = MulAdd(d.keep, *c, k[j] * v);
        h = MulAdd(q[j], cj, h);
        *c = Rounded(cj);
      }
    }
    if (mine) frame[o.h + head * o.dv + column] = h * scale;
  }
}

}  // namespace

template <class T>
cudaError_t Launch(const MlstmCell& o, const Frames<T>& frames, cudaStream_t stream) {
  MlstmCellKernel<<<frames.lanes * o.heads, ThreadsFor(o.dv), 0, stream>>>(o, frames);
  return cudaGetLastError();
}
template cudaError_t Launch(const MlstmCell&, const Frames<float>&, cudaStream_t);
template cudaError_t Launch(const MlstmCell&, const Frames<double>&, cudaStream_t);

}  // namespace xst::kernels::cuda
