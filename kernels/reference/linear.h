#pragma once

#include "kernels/reference/matrix.h"
#include "kernels/reference/vector.h"

namespace xst::kernels::reference {

inline void Run(const Linear& o, double* frame, Range r) {
  const size_t unit = o.w.layout == Layout::panel ? kUnit : 1;
  const size_t begin = r.begin * unit;
  const size_t end = std::min<size_t>(r.end * unit, o.w.rows);
  if (begin >= end) return;
  VectorXd v = Decode(o.w, begin, end - begin) * Vec(frame, o.x, o.w.cols);
  if (o.bias) v += Weights(o.bias + begin, end - begin);
  if (o.accumulate) v += Vec(frame, o.y + begin, end - begin);
  Vec(frame, o.y + begin, end - begin) = v;
}

}  // namespace xst::kernels::reference
