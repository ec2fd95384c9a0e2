// One channel of an sLSTM from its four raw gates.
#pragma once

#include "kernels/cuda/math.cuh"
#include "kernels/ops.h"

namespace xst::kernels::cuda {

template <class T>
struct SlstmState {
  T c, n, m;
};

// The state after `raw` = i, f, z, o, unrounded, and the output.
template <class T>
__device__ T SlstmPoint(const T (&raw)[4], float forget_cap, bool lstm, SlstmState<T>* s) {
  const T z = tanh(raw[2]), o = Sigmoid(raw[3]);
  if (lstm) {
    s->c = MulAdd(Sigmoid(raw[1]), s->c, Sigmoid(raw[0]) * z);
    return o * tanh(s->c);
  }
  const T lfm = s->m + LogSigmoid(fmin(raw[1], static_cast<T>(forget_cap)));
  const T m = s->n == 0 ? raw[0] : fmax(raw[0], lfm);
  const T add = fmin(exp(raw[0] - m), T(1)), keep = fmin(exp(lfm - m), T(1));
  s->c = MulAdd(keep, s->c, add * z);
  s->n = MulAdd(keep, s->n, add);
  s->m = m;
  return o * s->c / s->n;
}

}  // namespace xst::kernels::cuda
