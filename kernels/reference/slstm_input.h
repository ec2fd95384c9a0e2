#pragma once

#include "kernels/reference/matrix.h"
#include "kernels/reference/vector.h"

namespace xst::kernels::reference {

inline void Run(const SlstmInput& o, double* frame, Range r) {
  const Slot inputs[4] = {o.conv, o.conv, o.u, o.u};
  for (size_t c = size_t{r.begin} * kUnit; c < size_t{r.end} * kUnit; ++c) {
    for (size_t g = 0; g < 4; ++g) {
      const size_t row = c / 16 * 64 + g * 16 + c % 16;
      double& wx = frame[o.wx + row];
      if (c >= o.channels) {
        wx = 0;
        continue;
      }
      wx = Row(o.w, row).dot(Vec(frame, inputs[g] + c / o.dim * o.dim, o.dim));
    }
  }
}

}  // namespace xst::kernels::reference
