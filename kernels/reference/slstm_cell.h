#pragma once

#include "kernels/reference/matrix.h"
#include "kernels/reference/vector.h"

namespace xst::kernels::reference {

inline void Run(const SlstmCell& o, double* frame, Range r) {
  const Span channels(r, o.channels);
  for (size_t ch = channels.begin; ch < channels.end; ++ch) {
    double raw[4];
    for (size_t g = 0; g < 4; ++g) {
      const size_t row = ch / 16 * 64 + g * 16 + ch % 16;
      const auto y = Vec(frame, o.y + ch / o.dim * o.dim, o.dim);
      raw[g] = frame[o.wx + row] + Row(o.r, row).dot(y) + o.bias[row];
    }
    const auto [i, f, z, out_gate] = raw;
    double& c = frame[o.c + ch];
    double& out = frame[o.out + ch];
    if (o.lstm) {
      c = Sigmoid(f) * c + Sigmoid(i) * std::tanh(z);
      out = Sigmoid(out_gate) * std::tanh(c);
      continue;
    }
    double& n = frame[o.n + ch];
    double& m = frame[o.m + ch];
    const double lfm = m + LogSigmoid(std::min<double>(f, o.forget_cap));
    const double m_new = n == 0 ? i : std::max(i, lfm);
    const double I = std::min(std::exp(i - m_new), 1.0);
    const double F = std::min(std::exp(lfm - m_new), 1.0);
    c = F * c + I * std::tanh(z);
    n = F * n + I;
    m = m_new;
    out = Sigmoid(out_gate) * c / n;
  }
}

}  // namespace xst::kernels::reference
