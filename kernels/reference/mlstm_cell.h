#pragma once

#include "kernels/reference/vector.h"

namespace xst::kernels::reference {

inline void Run(const MlstmCell& o, double* frame, Range r) {
  const double cap = o.gate_cap;
  const auto capped = [&](double z) { return cap > 0 ? cap * std::tanh(z / cap) : z; };
  for (size_t head = r.begin; head < r.end; ++head) {
    VectorXd q = Vec(frame, o.q + head * o.dk, o.dk);
    VectorXd k = Vec(frame, o.k + head * o.dk, o.dk);
    const auto v = Vec(frame, o.v + head * o.dv, o.dv);
    auto h = Vec(frame, o.h + head * o.dv, o.dv);
    auto n = Vec(frame, o.n + head * o.stride_n, o.dk);
    double& m = frame[o.m + head];
    using RowMajor = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
    Eigen::Map<RowMajor, 0, Eigen::OuterStride<>> C(frame + o.c + head * o.dk * o.stride_c, o.dk,
                                                    o.dv, Eigen::OuterStride<>(o.stride_c));

    const double i = capped(frame[o.gates + head]);
    const double lf = LogSigmoid(capped(frame[o.gates + o.heads + head]));
    const double m_new = std::max(lf + m, i);
    const double F = std::exp(lf + m - m_new);
    const double I = std::exp(i - m_new);
    (o.scale_key ? k : q) /= std::sqrt(double(o.dk));

    C = F * C + I * k * v.transpose();
    n = F * n + I * k;
    h = C.transpose() * q / (std::max(std::abs(q.dot(n)), std::exp(-m_new)) + o.eps);
    m = m_new;
  }
}

}  // namespace xst::kernels::reference
