#pragma once

#include "kernels/reference/matrix.h"
#include "kernels/reference/vector.h"

namespace xst::kernels::reference {

inline void Run(const Embed& o, double* frame, Range) {
  const auto row = static_cast<size_t>(frame[o.token]);
  Vec(frame, o.x, o.table.cols) = Row(o.table, row);
}

}  // namespace xst::kernels::reference
