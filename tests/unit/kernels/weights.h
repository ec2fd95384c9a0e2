// Matrices of every weight type and layout, rounded and placed as the design says, in memory of
// exactly the bytes a kernel may read.
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "kernels/ops.h"

namespace xst::kernels {

inline constexpr DType kTypes[] = {DType::f32, DType::i16, DType::bf16, DType::i8};

inline std::string Name(DType t) {
  constexpr const char* kNames[] = {"f32", "i16", "bf16", "i8"};
  return kNames[static_cast<size_t>(t)];
}

class Weights {
 public:
  // From w, row-major [rows][cols].
  Weights(const std::vector<float>& w, uint32_t rows, uint32_t cols, DType dtype, Layout layout)
      : rows_(rows), cols_(cols), dtype_(dtype), layout_(layout) {
    const size_t size = dtype == DType::f32 ? 4 : dtype == DType::i8 ? 1 : 2;
    together_ = layout == Layout::panel ? 4 / size : 64 / size;
    const size_t padded = (cols + together_ - 1) / together_ * together_;
    stride_ = layout == Layout::panel ? padded * 16 : padded;
    const size_t bytes = (layout == Layout::panel ? (rows + 15) / 16 : rows) * stride_ * size;
    data_.reset(std::aligned_alloc(64, bytes));
    std::fill_n(static_cast<char*>(data_.get()), bytes, 0);
    // What a row that is not there has for a scale must not matter.
    scale_.assign(RoundUp16(rows), std::numeric_limits<float>::quiet_NaN());
    for (size_t r = 0; r < rows; ++r) {
      float largest = 0;
      for (size_t c = 0; c < cols; ++c) largest = std::max(largest, std::abs(w[r * cols + c]));
      scale_[r] = largest / (dtype == DType::i16 ? 32767 : 127);
      for (size_t c = 0; c < cols; ++c) Put(r, c, w[r * cols + c]);
    }
  }

  Matrix matrix() const {
    const bool scaled = dtype_ == DType::i16 || dtype_ == DType::i8;
    return {data_.get(), scaled ? scale_.data() : nullptr, rows_, cols_, dtype_, layout_};
  }

  // The stored number, before the scale.
  template <class T>
  T& At(size_t r, size_t c) {
    const size_t at =
        layout_ == Layout::panel
            ? r / 16 * stride_ + (c / together_ * 16 + r % 16) * together_ + c % together_
            : r * stride_ + c;
    return static_cast<T*>(data_.get())[at];
  }
  float& scale(size_t r) { return scale_[r]; }

 private:
  void Put(size_t r, size_t c, float v) {
    const double q = scale_[r] == 0 ? 0 : std::nearbyint(double{v} / double{scale_[r]});
    switch (dtype_) {
      case DType::f32:
        At<float>(r, c) = v;
        break;
      case DType::i16:
        At<int16_t>(r, c) = static_cast<int16_t>(std::clamp(q, -32767.0, 32767.0));
        break;
      case DType::bf16: {
        const uint32_t bits = std::bit_cast<uint32_t>(v);
        At<uint16_t>(r, c) = static_cast<uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
        break;
      }
      case DType::i8:
        At<int8_t>(r, c) = static_cast<int8_t>(std::clamp(q, -127.0, 127.0));
        break;
    }
  }

  uint32_t rows_, cols_;
  DType dtype_;
  Layout layout_;
  size_t together_, stride_;  // columns that lie together; elements of a panel or a row
  std::unique_ptr<void, decltype(&std::free)> data_{nullptr, &std::free};
  std::vector<float> scale_;
};

}  // namespace xst::kernels
