// Rounding of a matrix's rows to i8 by what its products are used for.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace xst {

// For inputs x with the second moments H = mean of x x^T, a row w stored as s q makes the mean
// squared error (w - s q)^T H (w - s q). Chooses the integers q, |q| <= 127, that make it small:
// entries are rounded in turn, and those that come later take up the error of those before (Babai's
// nearest plane in the lattice that a Cholesky factor of H spans).
class RowRounder {
 public:
  // `moments`: the lower triangle of H times any positive number, [n][n].
  explicit RowRounder(std::span<const double> moments, uint32_t n);

  // Replaces `row` [n] by `scale` times q.
  void Round(std::span<float> row, float scale);

 private:
  uint32_t n_;
  std::vector<uint32_t> order_;  // of the rows of H; the last is rounded first
  std::vector<double> factor_;   // H = L L^T, lower triangle
  std::vector<double> carried_;  // the errors so far, as the entries still to come see them
};

}  // namespace xst
