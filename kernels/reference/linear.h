#pragma once

#include "kernels/reference/matrix.h"
#include "kernels/reference/vector.h"

namespace xst::kernels::reference {

inline void Run(const Linear& o, double* frame, Range r) {
  const size_t unit = o.w.layout == Layout::panel ? kUnit : 1;
  const size_t end = std::min<size_t>(r.end * unit, o.w.rows);
  const auto x = Vec(frame, o.x, o.w.cols);
  for (size_t row = r.begin * unit; row < end; ++row) {
    double v = Row(o.w, row).dot(x);
    if (o.bias) v += o.bias[row];
    double& y = frame[o.y + row];
    y = o.accumulate ? y + v : v;
  }
}

}  // namespace xst::kernels::reference
