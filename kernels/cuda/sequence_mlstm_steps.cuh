// The mLSTM of a sequence step by step, for any T, dk and dv.
#pragma once

#include <algorithm>

#include "kernels/cuda/lane.cuh"
#include "kernels/cuda/math.cuh"
#include "kernels/cuda/sequence_mma.cuh"
#include "kernels/cuda/shared_memory.h"

namespace xst::kernels::cuda::sequence {

inline constexpr int kStepsColumns = 32, kStepsParts = 8;
inline constexpr int kStepsThreads = kStepsColumns * kStepsParts;

// Shared: two buffers [q | k | v | i, f], n, and C where it fits.
template <class T>
size_t StepsShared(const MlstmCell& o, bool with_c) {
  const size_t step = 2 * size_t{o.dk} + kStepsColumns + 2;
  return sizeof(T) * (2 * step + o.dk + (with_c ? size_t{o.dk} * kStepsColumns : 0));
}

// A block: kStepsColumns columns of one head.
template <class T>
__global__ void __launch_bounds__(kStepsThreads)
    StepsKernel(MlstmCell o, Sequence<T> s, int slices, bool with_c, double* ends) {
  extern __shared__ double shared_steps[];
  __shared__ T parts[kStepsParts][kStepsColumns], dots[kStepsParts];
  const int thread = threadIdx.x, dk = o.dk;
  const int slice = blockIdx.x % slices, head = blockIdx.x / slices % o.heads;
  const size_t lane = blockIdx.x / slices / o.heads;
  if (!IsActive(s.state, lane)) return;
  const int columns = min(kStepsColumns, static_cast<int>(o.dv) - slice * kStepsColumns);
  const int buffer = 2 * dk + kStepsColumns + 2;
  T* inputs = reinterpret_cast<T*>(shared_steps);
  T* n = inputs + 2 * buffer;
  T* frame = s.state.data + lane * s.state.stride;
  T* tokens = s.tokens.data + lane * s.steps * s.tokens.stride;
  T* state_c = frame + o.c + size_t{o.stride_c} * (head * dk) + slice * kStepsColumns;
  T* state_n = frame + o.n + head * o.stride_n;
  T* c = with_c ? n + dk : state_c;
  const size_t stride_c = with_c ? kStepsColumns : o.stride_c;
  const T root = T(1) / sqrt(T(dk));
  const T key_scale = o.scale_key ? root : T(1), query_scale = o.scale_key ? T(1) : root;

  const auto fetch = [&](uint32_t t) {
    T* to = inputs + t % 2 * buffer;
    const T* token = tokens + size_t{t} * s.tokens.stride;
    for (int d = thread; d < dk; d += kStepsThreads) {
      CopyAsync<sizeof(T)>(to + d, token + o.q + head * dk + d, true);
      CopyAsync<sizeof(T)>(to + dk + d, token + o.k + head * dk + d, true);
    }
    const T* v = token + o.v + head * o.dv + slice * kStepsColumns;
    if (thread < columns) CopyAsync<sizeof(T)>(to + 2 * dk + thread, v + thread, true);
    if (thread < 2) {
      CopyAsync<sizeof(T)>(to + 2 * dk + kStepsColumns + thread,
                           token + o.gates + head + thread * o.heads, true);
    }
    CommitCopies();
  };
  fetch(0);
  for (int d = thread; d < dk; d += kStepsThreads) n[d] = state_n[d];
  const int column = thread % kStepsColumns, part = thread / kStepsColumns;
  if (with_c) {
    for (int d = part; d < dk; d += kStepsParts) {
      c[d * stride_c + column] = column < columns ? state_c[d * size_t{o.stride_c} + column] : T(0);
    }
  }
  T m = frame[o.m + head];

  for (uint32_t t = 0; t < s.steps; ++t) {
    WaitForCopies<0>();
    __syncthreads();
    if (t + 1 < s.steps) fetch(t + 1);
    const T* q = inputs + t % 2 * buffer;
    const T *k = q + dk, *v = k + dk;
    T i = v[kStepsColumns], f = v[kStepsColumns + 1];
    if (o.gate_cap > 0) {
      const T cap = o.gate_cap;
      i = cap * tanh(i / cap);
      f = cap * tanh(f / cap);
    }
    const T kept = LogSigmoid(f) + m;
    m = Rounded(fmax(kept, i));
    const T forget = exp(kept - m), input = exp(i - m) * key_scale;

    T dot = 0;
    for (int d = thread; d < dk; d += kStepsThreads) {
      const T next = MulAdd(input, k[d], forget * n[d]);
      dot = MulAdd(q[d], next, dot);
      n[d] = Rounded(next);
    }
    dot = SumOver<32>(dot);
    if (column == 0) dots[part] = dot;
    if (column < columns) {
      T sum = 0;
      for (int d = part; d < dk; d += kStepsParts) {
        T* at = c + d * stride_c + column;
        const T next = MulAdd(input * k[d], v[column], forget * *at);
        *at = Rounded(next);
        sum = MulAdd(q[d], next, sum);
      }
      parts[part][column] = sum;
    }
    __syncthreads();
    if (thread < columns) {
      T sum = 0, qn = 0;
#pragma unroll
      for (int p = 0; p < kStepsParts; ++p) {
        sum += parts[p][thread];
        qn += dots[p];
      }
      const T divisor = fmax(fabs(qn * query_scale), exp(-m)) + T(o.eps);
      T* h = tokens + size_t{t} * s.tokens.stride + o.h + head * o.dv + slice * kStepsColumns;
      h[thread] = sum * query_scale / divisor;
    }
  }

  if (with_c && column < columns) {
    for (int d = part; d < dk; d += kStepsParts) {
      state_c[d * size_t{o.stride_c} + column] = c[d * stride_c + column];
    }
  }
  // The threads that made n write it.
  double* end = ends + (lane * o.heads + head) * (size_t{o.dk} + 1);
  for (int d = thread; d < dk; d += kStepsThreads) {
    if (slices == 1) state_n[d] = n[d];
    if (slices > 1 && slice == 0) end[d] = n[d];
  }
  if (thread == 0) {
    if (slices == 1) frame[o.m + head] = m;
    if (slices > 1 && slice == 0) end[dk] = m;
  }
}

// n and m from where one of several blocks left them to the state.
template <class T>
__global__ void EndsKernel(MlstmCell o, Frames<T> state, const double* ends) {
  const uint32_t head = blockIdx.x % o.heads;
  if (!IsActive(state, blockIdx.x / o.heads)) return;
  T* frame = state.data + size_t{blockIdx.x / o.heads} * state.stride;
  const double* end = ends + size_t{blockIdx.x} * (o.dk + 1);
  for (uint32_t d = threadIdx.x; d < o.dk; d += blockDim.x) {
    frame[o.n + head * o.stride_n + d] = static_cast<T>(end[d]);
  }
  if (threadIdx.x == 0) frame[o.m + head] = static_cast<T>(end[o.dk]);
}

template <class T>
cudaError_t LaunchEnds(const MlstmCell& o, const Sequence<T>& s, const double* ends,
                       cudaStream_t stream) {
  EndsKernel<<<s.state.lanes * o.heads, 128, 0, stream>>>(o, s.state, ends);
  return cudaGetLastError();
}

template <class T>
cudaError_t LaunchSteps(const MlstmCell& o, const Sequence<T>& s, double* ends,
                        cudaStream_t stream) {
  int device = 0, room = 0;
  cudaGetDevice(&device);
  cudaDeviceGetAttribute(&room, cudaDevAttrMaxSharedMemoryPerBlockOptin, device);
  const int slices = (o.dv + kStepsColumns - 1) / kStepsColumns;
  // What the kernel has statically comes on top.
  const bool with_c = StepsShared<T>(o, true) + 4096 <= static_cast<size_t>(room);
  const size_t bytes = StepsShared<T>(o, with_c);
  cudaError_t error = AllowShared(StepsKernel<T>, bytes);
  if (error != cudaSuccess) return error;
  StepsKernel<T><<<s.state.lanes * o.heads * slices, kStepsThreads, bytes, stream>>>(o, s, slices,
                                                                                     with_c, ends);
  error = cudaGetLastError();
  return error == cudaSuccess && slices > 1 ? LaunchEnds(o, s, ends, stream) : error;
}

}  // namespace xst::kernels::cuda::sequence
