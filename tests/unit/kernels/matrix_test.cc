#include "kernels/reference/matrix.h"

#include <gtest/gtest.h>

#include <vector>

namespace xst::kernels {
namespace {

Eigen::MatrixXd Decode(const Matrix& w) {
  Eigen::MatrixXd m(w.rows, w.cols);
  for (uint32_t r = 0; r < w.rows; ++r) m.row(r) = reference::Row(w, r);
  return m;
}

// Values 100 row + col, placed by the layouts as the design states them, index by index.
float Value(size_t r, size_t c) { return static_cast<float>(100 * r + c); }

TEST(MatrixTest, F32Panel) {
  constexpr uint32_t kRows = 18, kCols = 3;
  std::vector<float> data;  // [2][3][16]
  for (size_t p = 0; p < 2; ++p) {
    for (size_t k = 0; k < kCols; ++k) {
      for (size_t r = 0; r < 16; ++r) data.push_back(Value(16 * p + r, k));
    }
  }
  const auto m = Decode({data.data(), nullptr, kRows, kCols, DType::f32, Layout::panel});
  ASSERT_EQ(m.rows(), kRows);
  ASSERT_EQ(m.cols(), kCols);
  for (size_t r = 0; r < kRows; ++r) {
    for (size_t c = 0; c < kCols; ++c) EXPECT_EQ(m(r, c), Value(r, c));
  }
}

TEST(MatrixTest, F32Rows) {
  constexpr uint32_t kRows = 3, kCols = 17;
  std::vector<float> data(kRows * 32, -1);  // 17 floats are 68 bytes: 128 a row
  for (size_t r = 0; r < kRows; ++r) {
    for (size_t c = 0; c < kCols; ++c) data[r * 32 + c] = Value(r, c);
  }
  const auto m = Decode({data.data(), nullptr, kRows, kCols, DType::f32, Layout::rows});
  for (size_t r = 0; r < kRows; ++r) {
    for (size_t c = 0; c < kCols; ++c) EXPECT_EQ(m(r, c), Value(r, c));
  }
}

TEST(MatrixTest, I16) {
  constexpr uint32_t kRows = 17, kCols = 5;
  std::vector<float> scale;
  for (size_t r = 0; r < kRows; ++r) scale.push_back(0.25f * static_cast<float>(r + 1));
  std::vector<int16_t> panel;  // [2][3][16][2]
  for (size_t p = 0; p < 2; ++p) {
    for (size_t k = 0; k < 3; ++k) {
      for (size_t r = 0; r < 16; ++r) {
        for (size_t j = 0; j < 2; ++j) {
          panel.push_back(static_cast<int16_t>(
              2 * k + j < kCols ? -100 * int(p * 16 + r) - int(2 * k + j) : 0));
        }
      }
    }
  }
  std::vector<int16_t> rows(kRows * 32);  // 64 bytes a row
  for (size_t r = 0; r < kRows; ++r) {
    for (size_t c = 0; c < kCols; ++c)
      rows[r * 32 + c] = static_cast<int16_t>(-100 * int(r) - int(c));
  }
  const auto a = Decode({panel.data(), scale.data(), kRows, kCols, DType::i16, Layout::panel});
  const auto b = Decode({rows.data(), scale.data(), kRows, kCols, DType::i16, Layout::rows});
  for (size_t r = 0; r < kRows; ++r) {
    for (size_t c = 0; c < kCols; ++c) {
      EXPECT_EQ(a(r, c), -Value(r, c) * scale[r]);
      EXPECT_EQ(b(r, c), -Value(r, c) * scale[r]);
    }
  }
}

TEST(MatrixTest, I8) {
  constexpr uint32_t kRows = 2, kCols = 6;
  const float scale[2] = {0.5f, 3};
  std::vector<int8_t> panel(2 * 16 * 4);  // [1][2][16][4]
  std::vector<int8_t> rows(2 * 64);
  for (size_t r = 0; r < kRows; ++r) {
    for (size_t c = 0; c < kCols; ++c) {
      const auto v = static_cast<int8_t>(r == 0 ? -127 + int(c) : 10 + int(c));
      panel[(c / 4) * 64 + r * 4 + c % 4] = v;
      rows[r * 64 + c] = v;
    }
  }
  const auto a = Decode({panel.data(), scale, kRows, kCols, DType::i8, Layout::panel});
  const auto b = Decode({rows.data(), scale, kRows, kCols, DType::i8, Layout::rows});
  for (size_t c = 0; c < kCols; ++c) {
    EXPECT_EQ(a(0, c), 0.5 * (-127 + int(c)));
    EXPECT_EQ(a(1, c), 3.0 * (10 + int(c)));
  }
  EXPECT_EQ(a, b);
}

TEST(MatrixTest, Bf16) {
  // [1][1][16][2], one row: 1, -2.5.
  std::vector<uint16_t> panel(32, 0);
  panel[0] = 0x3f80;
  panel[1] = 0xc020;
  const auto m = Decode({panel.data(), nullptr, 1, 2, DType::bf16, Layout::panel});
  EXPECT_EQ(m(0, 0), 1);
  EXPECT_EQ(m(0, 1), -2.5);
}

}  // namespace
}  // namespace xst::kernels
