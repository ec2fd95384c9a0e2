#pragma once

#include "kernels/reference/vector.h"

namespace xst::kernels::reference {

inline void Run(const MlstmOut& o, double* frame, Range r) {
  for (size_t head = r.begin; head < r.end; ++head) {
    const size_t at = head * o.dim;
    ArrayXd s = Normed(Vec(frame, o.h + at, o.dim), o.eps).array() *
                (Weights(o.weight + at, o.dim).array() + double{o.weight_offset});
    if (o.bias) s += Weights(o.bias + at, o.dim).array();
    if (o.skip) s += Weights(o.skip + at, o.dim).array() * Vec(frame, o.c + at, o.dim).array();
    const auto gate = Vec(frame, o.z + at, o.dim).array().unaryExpr(o.sigmoid ? &Sigmoid : &Silu);
    Vec(frame, o.y + at, o.dim) = s * gate;
  }
}

}  // namespace xst::kernels::reference
