#pragma once

#include "kernels/reference/vector.h"

namespace xst::kernels::reference {

inline void Run(const Norm& o, double* frame, Range) {
  const VectorXd x = Vec(frame, o.x, o.size);
  ArrayXd y = o.center ? Normed(x, o.eps) : x / std::sqrt(x.squaredNorm() / o.size + o.eps);
  if (o.weight) y *= Weights(o.weight, o.size).array() + double{o.weight_offset};
  if (o.bias) y += Weights(o.bias, o.size).array();
  Vec(frame, o.y, o.size) = y;
}

}  // namespace xst::kernels::reference
