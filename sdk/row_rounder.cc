#include "sdk/row_rounder.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace xst {
namespace {

constexpr double kLargest = 127;
// Of the mean of H's diagonal, added to it: what the recording does not show is not free to err.
constexpr double kDamping = 0.01;

}  // namespace

RowRounder::RowRounder(std::span<const double> moments, uint32_t n)
    : n_(n), order_(n), factor_(size_t{n} * n), carried_(n) {
  const auto at = [&](uint32_t i, uint32_t j) {
    return moments[size_t{std::max(i, j)} * n + std::min(i, j)];
  };
  double mean = 0;
  for (uint32_t i = 0; i < n; ++i) mean += at(i, i) / n;
  // The largest is rounded first, when all others can still make up for it.
  std::iota(order_.begin(), order_.end(), 0);
  std::stable_sort(order_.begin(), order_.end(),
                   [&](uint32_t i, uint32_t j) { return at(i, i) < at(j, j); });
  const double added = mean > 0 ? kDamping * mean : 1;
  for (uint32_t i = 0; i < n; ++i) {
    double* const l = &factor_[size_t{i} * n];
    for (uint32_t j = 0; j <= i; ++j) {
      const double* const other = &factor_[size_t{j} * n];
      double sum = at(order_[i], order_[j]) + (i == j ? added : 0);
      for (uint32_t k = 0; k < j; ++k) sum -= l[k] * other[k];
      l[j] = i == j ? std::sqrt(std::max(sum, added * 1e-6)) : sum / other[j];
    }
  }
}

void RowRounder::Round(std::span<float> row, float scale) {
  if (!(scale > 0)) return;
  std::fill(carried_.begin(), carried_.end(), 0);
  for (uint32_t i = n_; i-- > 0;) {
    const double* const l = &factor_[size_t{i} * n_];
    float& w = row[order_[i]];
    const double target = w + carried_[i] / l[i];
    const double q = std::clamp(std::nearbyint(target / scale), -kLargest, kLargest);
    const double error = w - scale * q;
    for (uint32_t k = 0; k < i; ++k) carried_[k] += l[k] * error;
    w = static_cast<float>(q) * scale;
  }
}

}  // namespace xst
