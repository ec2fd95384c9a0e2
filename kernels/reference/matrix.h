// Any stored matrix as doubles.
#pragma once

#include <Eigen/Core>
#include <bit>

#include "kernels/ops.h"

namespace xst::kernels::reference {

inline uint32_t ElementBytes(DType t) { return t == DType::f32 ? 4 : t == DType::i8 ? 1 : 2; }

// Columns that lie together in a panel: 4 bytes' worth.
inline uint32_t PanelGroup(DType t) { return 4 / ElementBytes(t); }

// Where element (row, col) lies, in elements.
inline size_t ElementIndex(const Matrix& w, size_t row, size_t col) {
  if (w.layout == Layout::rows) {
    const size_t line = 64 / ElementBytes(w.dtype);  // elements of 64 bytes
    return row * ((w.cols + line - 1) / line * line) + col;
  }
  const size_t group = PanelGroup(w.dtype);
  const size_t groups = (w.cols + group - 1) / group;
  return ((row / kUnit * groups + col / group) * kUnit + row % kUnit) * group + col % group;
}

inline double At(const Matrix& w, size_t row, size_t col) {
  const size_t i = ElementIndex(w, row, col);
  switch (w.dtype) {
    case DType::f32:
      return static_cast<const float*>(w.data)[i];
    case DType::bf16: {
      const uint32_t bits = static_cast<const uint16_t*>(w.data)[i];
      return std::bit_cast<float>(bits << 16);
    }
    case DType::i16:
      return double{w.scale[row]} * static_cast<const int16_t*>(w.data)[i];
    case DType::i8:
      return double{w.scale[row]} * static_cast<const int8_t*>(w.data)[i];
  }
  return 0;
}

// Rows [row, row + rows).
inline Eigen::MatrixXd Decode(const Matrix& w, size_t row, size_t rows) {
  Eigen::MatrixXd m(rows, w.cols);
  for (size_t r = 0; r < rows; ++r) {
    for (size_t c = 0; c < w.cols; ++c) m(r, c) = At(w, row + r, c);
  }
  return m;
}

inline Eigen::MatrixXd Decode(const Matrix& w) { return Decode(w, 0, w.rows); }

}  // namespace xst::kernels::reference
