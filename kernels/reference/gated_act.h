#pragma once

#include "kernels/reference/vector.h"

namespace xst::kernels::reference {

inline double Activate(Activation act, double a) {
  switch (act) {
    case Activation::gelu:
      return 0.5 * a * (1 + std::erf(a / std::sqrt(2.0)));
    case Activation::relu:
      return std::max(a, 0.0);
    case Activation::relu2:
      return std::max(a, 0.0) * std::max(a, 0.0);
    case Activation::sigmoid:
      return Sigmoid(a);
    case Activation::swish:
      return Silu(a);
    case Activation::selu:
      return 1.0507009873554805 * (a > 0 ? a : 1.6732632423543772 * std::expm1(a));
  }
  return 0;
}

inline void Run(const GatedAct& o, double* frame, Range r) {
  const Span span(r, o.size);
  for (size_t i = span.begin; i < span.end; ++i) {
    frame[o.y + i] = Activate(o.act, frame[o.gate + i]) * frame[o.linear + i];
  }
}

}  // namespace xst::kernels::reference
