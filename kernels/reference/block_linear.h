#pragma once

#include "kernels/reference/matrix.h"
#include "kernels/reference/vector.h"

namespace xst::kernels::reference {

inline void Run(const BlockLinear& o, double* frame, Range r) {
  const Span rows(r, o.w.rows);
  const size_t block = o.w.cols;
  for (size_t row = rows.begin; row < rows.end; ++row) {
    const auto x = Vec(frame, o.x + row / block * block, block);
    frame[o.y + row] = Row(o.w, row).dot(x) + (o.bias ? o.bias[row] : 0);
  }
}

}  // namespace xst::kernels::reference
