#pragma once

#include "kernels/reference/vector.h"

namespace xst::kernels::reference {

inline void Run(const MlstmOut& o, double* frame, Range r) {
  for (size_t head = r.begin; head < r.end; ++head) {
    const size_t at = head * o.dim;
    const ArrayXd normed = Normed(Vec(frame, o.h + at, o.dim), o.eps).array() *
                           (1 + Weights(o.weight + at, o.dim).array());
    const ArrayXd skip = Weights(o.skip + at, o.dim).array() * Vec(frame, o.c + at, o.dim).array();
    const ArrayXd gate = Vec(frame, o.z + at, o.dim).array().unaryExpr(&Silu);
    Vec(frame, o.y + at, o.dim) = (normed + skip) * gate;
  }
}

}  // namespace xst::kernels::reference
