#pragma once

#include "kernels/reference/vector.h"

namespace xst::kernels::reference {

inline void Run(const Pointwise& o, double* frame, Range r) {
  const Span span(r, o.size);
  for (size_t i = span.begin; i < span.end; ++i) {
    const double x = frame[o.x + i];
    frame[o.y + i] =
        o.kind == PointwiseKind::relu ? std::max(x, 0.0) : o.cap * std::tanh(x / o.cap);
  }
}

}  // namespace xst::kernels::reference
