// Arrays of a frame and of a model as Eigen vectors, and the elementary functions of the
// specification.
#pragma once

#include <Eigen/Core>
#include <algorithm>
#include <cmath>

#include "kernels/ops.h"

namespace xst::kernels::reference {

using Eigen::ArrayXd;
using Eigen::MatrixXd;
using Eigen::VectorXd;

inline Eigen::Map<VectorXd> Vec(double* frame, size_t at, size_t size) {
  return {frame + at, static_cast<Eigen::Index>(size)};
}

inline VectorXd Weights(const float* w, size_t size) {
  return Eigen::Map<const Eigen::VectorXf>(w, static_cast<Eigen::Index>(size)).cast<double>();
}

// [begin, end) in elements of units [r.begin, r.end) of an array.
struct Span {
  size_t begin, end;
  Span(Range r, size_t size)
      : begin(size_t{r.begin} * kUnit), end(std::min(size_t{r.end} * kUnit, size)) {}
};

inline double Sigmoid(double a) { return 1 / (1 + std::exp(-a)); }
inline double Silu(double a) { return a * Sigmoid(a); }
inline double LogSigmoid(double a) { return std::min(a, 0.0) - std::log1p(std::exp(-std::abs(a))); }

// (x - mean) / sqrt(var + eps), the biased variance; exactly 0 where all are equal.
inline VectorXd Normed(const VectorXd& x, double eps) {
  const ArrayXd d = x.array() - x(0);
  const ArrayXd centered = d - d.mean();
  return centered / std::sqrt(centered.square().mean() + eps);
}

}  // namespace xst::kernels::reference
