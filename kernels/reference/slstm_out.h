#pragma once

#include "kernels/reference/vector.h"

namespace xst::kernels::reference {

inline void Run(const SlstmOut& o, double* frame, Range r) {
  for (size_t head = r.begin; head < r.end; ++head) {
    const size_t at = head * o.dim;
    const VectorXd out = Vec(frame, o.out + at, o.dim);
    ArrayXd normed = Normed(out, o.eps);
    if (o.weight) normed *= 1 + Weights(o.weight + at, o.dim).array();
    Vec(frame, o.y + at, o.dim) = out;
    Vec(frame, o.x + at, o.dim).array() += normed;
  }
}

}  // namespace xst::kernels::reference
