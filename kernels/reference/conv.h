#pragma once

#include "kernels/reference/vector.h"

namespace xst::kernels::reference {

inline void Run(const Conv& o, double* frame, Range r) {
  const Span channels(r, o.channels);
  const size_t past = o.kernel - 1;
  for (size_t c = channels.begin; c < channels.end; ++c) {
    VectorXd s(o.kernel), w(o.kernel);
    for (size_t j = 0; j < o.kernel; ++j) {
      s(j) = j < past ? frame[o.history + j * o.stride + c] : frame[o.x + c];
      w(j) = o.weight[j * o.stride + c];
    }
    for (size_t j = 0; j < past; ++j) frame[o.history + j * o.stride + c] = s(j + 1);
    frame[o.y + c] = Silu(s.dot(w) + o.bias[c]);
  }
}

}  // namespace xst::kernels::reference
