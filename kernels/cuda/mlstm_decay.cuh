// What the two gates of an mLSTM head do to its state.
#pragma once

#include "kernels/cuda/math.cuh"
#include "kernels/ops.h"

namespace xst::kernels::cuda {

template <class T>
struct MlstmDecay {
  T keep, add, m;  // C' = keep C + add k v^T; m' = m
};

template <class T>
__device__ T Capped(T z, float cap) {
  return cap > 0 ? T(cap) * tanh(z / T(cap)) : z;
}

template <class T>
__device__ MlstmDecay<T> DecayOf(T i, T f, T m, float cap) {
  i = Capped(i, cap);
  const T past = LogSigmoid(Capped(f, cap)) + m;
  const T now = Rounded(fmax(past, i));  // any stabiliser near the largest will do, if it is kept
  return {exp(past - now), exp(i - now), now};
}

// Of a head of a frame.
template <class T>
__device__ MlstmDecay<T> DecayOf(const MlstmCell& o, const T* frame, uint32_t head) {
  return DecayOf(frame[o.gates + head], frame[o.gates + o.heads + head], frame[o.m + head],
                 o.gate_cap);
}

// Of k (scale_key) or q.
__device__ inline float MlstmScale(const MlstmCell& o) {
  return 1 / sqrtf(static_cast<float>(o.dk));
}

}  // namespace xst::kernels::cuda
