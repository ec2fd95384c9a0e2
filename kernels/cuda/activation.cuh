// The activations of a gated feed-forward.
#pragma once

#include "kernels/cuda/math.cuh"
#include "kernels/ops.h"

namespace xst::kernels::cuda {

// NaN stays.
template <class T>
__device__ T Relu(T a) {
  return a < T(0) ? T(0) : a;
}

template <class T>
__device__ T Activate(Activation act, T a) {
  switch (act) {
    case Activation::gelu:
      return T(0.5) * a * (T(1) + erf(a * T(0.70710678118654752)));
    case Activation::relu:
      return Relu(a);
    case Activation::relu2:
      return Relu(a) * Relu(a);
    case Activation::sigmoid:
      return Sigmoid(a);
    case Activation::swish:
      return Silu(a);
    case Activation::selu:
      return T(1.0507009873554805) * (a > 0 ? a : T(1.6732632423543772) * expm1(a));
  }
  return 0;
}

}  // namespace xst::kernels::cuda
