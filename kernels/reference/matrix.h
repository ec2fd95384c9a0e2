// Any stored matrix as doubles.
#pragma once

#include <Eigen/Core>
#include <bit>

#include "kernels/ops.h"

namespace xst::kernels::reference {

// The float that a stored element stands for, before its row's scale.
inline float Number(float v) { return v; }
inline float Number(uint16_t bf16) { return std::bit_cast<float>(uint32_t{bf16} << 16); }
inline float Number(int16_t v) { return v; }
inline float Number(int8_t v) { return v; }

template <class T>
Eigen::VectorXd RowAs(const Matrix& w, size_t row) {
  const T* data = static_cast<const T*>(w.data);
  const float scale = w.scale ? w.scale[row] : 1;
  Eigen::VectorXd v(w.cols);
  if (w.layout == Layout::rows) {
    constexpr size_t kLine = 64 / sizeof(T);  // rows are padded to 64 bytes
    data += row * ((w.cols + kLine - 1) / kLine * kLine);
    for (size_t c = 0; c < w.cols; ++c) v(c) = Number(data[c]) * scale;
  } else {
    constexpr size_t kTogether = 4 / sizeof(T);  // columns that lie together
    const size_t words = (w.cols + kTogether - 1) / kTogether;
    data += (row / kUnit * words * kUnit + row % kUnit) * kTogether;
    for (size_t c = 0; c < w.cols; ++c) {
      v(c) = Number(data[c / kTogether * kUnit * kTogether + c % kTogether]) * scale;
    }
  }
  return v;
}

// One row; a weight of i16 and i8 is the float product of quantum and scale.
inline Eigen::VectorXd Row(const Matrix& w, size_t row) {
  switch (w.dtype) {
    case DType::f32:
      return RowAs<float>(w, row);
    case DType::bf16:
      return RowAs<uint16_t>(w, row);
    case DType::i16:
      return RowAs<int16_t>(w, row);
    case DType::i8:
      return RowAs<int8_t>(w, row);
  }
  return {};
}

}  // namespace xst::kernels::reference
