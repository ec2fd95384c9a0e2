#include "tests/unit/kernels/harness.h"
#include "tests/unit/kernels/weights.h"

namespace xst::kernels {
namespace {

class LinearTest : public OpTest {
 protected:
  void CheckSize(uint32_t rows, uint32_t cols, DType type, Layout layout, bool bias,
                 bool accumulate, uint32_t misalignment) {
    const Weights w(Random(rows * cols), rows, cols, type, layout);
    const std::vector<float> b = Random(rows);
    Frame frame(misalignment);
    const Slot x = frame.AddInput(Random(cols));
    const Slot y = accumulate ? frame.Add(Random(rows)) : frame.AddOutput(rows);
    const Linear op{w.matrix(), bias ? b.data() : nullptr, x, y, accumulate};
    frame.Check(op, table(), 1e-6 * std::sqrt(cols),
                Name(type) + " rows " + std::to_string(rows) + " cols " + std::to_string(cols));
  }
};
XST_OP_TEST_SUITE(LinearTest);

TEST_P(LinearTest, SmallSizes) {
  for (DType type : kTypes) {
    for (Layout layout : {Layout::panel, Layout::rows}) {
      for (uint32_t rows : Sizes()) {
        for (uint32_t cols : Sizes()) {
          const uint32_t i = rows * 41 + cols;
          CheckSize(rows, cols, type, layout, i % 2 == 0, i % 3 == 0, i % 4);
        }
      }
    }
  }
}

TEST_P(LinearTest, LargeSizes) {
  for (DType type : kTypes) {
    for (Layout layout : {Layout::panel, Layout::rows}) {
      for (uint32_t rows : {8u, 127u, 128u, 129u, 300u}) {
        for (uint32_t cols : {63u, 64u, 65u, 66u, 67u, 128u, 129u, 500u, 767u}) {
          const uint32_t i = rows + cols / 2;
          CheckSize(rows, cols, type, layout, i % 2 == 0, i % 3 == 0, i % 4);
        }
      }
    }
  }
}

// Numbers at their ends, scales of 0 and near it.
TEST_P(LinearTest, ExtremeWeights) {
  constexpr uint32_t kRows = 19, kCols = 71;
  for (DType type : kTypes) {
    for (Layout layout : {Layout::panel, Layout::rows}) {
      Weights w(Random(kRows * kCols), kRows, kCols, type, layout);
      const bool scaled = type == DType::i16 || type == DType::i8;
      for (uint32_t r = 0; r < kRows; ++r) {
        for (uint32_t c = 0; c < kCols; ++c) {
          // Rows of the largest, of the smallest, of both in turn and mixed into others.
          const bool high = r % 4 == 0 || (r % 4 == 2 && c % 2), low = r % 4 == 1 || r % 4 == 2;
          if (!high && !low && c % 3) continue;
          if (type == DType::f32) w.At<float>(r, c) = high ? 3e38f : -3e38f;
          if (type == DType::i16) w.At<int16_t>(r, c) = high ? 32767 : -32768;
          if (type == DType::bf16) w.At<uint16_t>(r, c) = high ? 0x7f7f : 0xff7f;
          if (type == DType::i8) w.At<int8_t>(r, c) = high ? 127 : -128;
        }
        if (scaled) w.scale(r) = r % 5 == 0 ? 0 : r % 5 == 1 ? 1e-30f : 1 / 128.0f;
      }
      Frame frame(1);
      // Products with the largest floats are about 10, and many of them cancel.
      const std::vector<float> x = scaled ? Random(kCols) : Random(kCols, 2e-38f, 6e-38f);
      const Slot in = frame.AddInput(x), y = frame.AddOutput(kRows);
      frame.Check(Linear{w.matrix(), nullptr, in, y, false}, table(), 1e-4, Name(type));
      for (uint32_t r = 0; scaled && r < kRows; r += 5) EXPECT_EQ(frame.f[y + r], 0);
    }
  }
}

// Every stored number is met by its own x: a column at a time, exactly.
TEST_P(LinearTest, EveryColumnAlone) {
  constexpr uint32_t kRows = 18, kCols = 13;
  for (DType type : kTypes) {
    for (Layout layout : {Layout::panel, Layout::rows}) {
      Weights w(std::vector<float>(kRows * kCols, 0), kRows, kCols, type, layout);
      const auto stored = [](uint32_t r, uint32_t c) {
        return static_cast<int>(r * kCols + c) % 255 - 127;
      };
      for (uint32_t r = 0; r < kRows; ++r) {
        w.scale(r) = 0.5f;
        for (uint32_t c = 0; c < kCols; ++c) {
          const int v = stored(r, c);
          if (type == DType::f32) w.At<float>(r, c) = static_cast<float>(v);
          if (type == DType::i16) w.At<int16_t>(r, c) = static_cast<int16_t>(v);
          if (type == DType::i8) w.At<int8_t>(r, c) = static_cast<int8_t>(v);
          if (type == DType::bf16) {
            w.At<uint16_t>(r, c) =
                static_cast<uint16_t>(std::bit_cast<uint32_t>(static_cast<float>(v)) >> 16);
          }
        }
      }
      const float scale = w.matrix().scale ? 0.5f : 1.0f;
      for (uint32_t c = 0; c < kCols; ++c) {
        std::vector<float> one(kCols, 0);
        one[c] = 2;
        Frame frame(3);
        const Slot x = frame.AddInput(one), y = frame.AddOutput(kRows);
        frame.Check(Linear{w.matrix(), nullptr, x, y, false}, table(), 0, Name(type));
        for (uint32_t r = 0; r < kRows; ++r) {
          ASSERT_EQ(frame.f[y + r], 2 * scale * static_cast<float>(stored(r, c)))
              << Name(type) << " row " << r << " column " << c;
        }
      }
    }
  }
}

// Inputs of many sizes in one vector: what the small types round of them counts against the
// largest.
TEST_P(LinearTest, InputsOfManySizes) {
  constexpr uint32_t kRows = 40, kCols = 300;
  for (DType type : kTypes) {
    const Weights w(Random(kRows * kCols), kRows, kCols, type, Layout::panel);
    for (float size : {1e-30f, 1e-20f, 1.0f, 1e20f, 1e28f}) {
      std::vector<float> x = Random(kCols, -size, size);
      for (uint32_t c = 0; c < kCols; ++c) x[c] *= c % 3 == 0 ? 1.0f : c % 3 == 1 ? 1e-3f : 0.0f;
      Frame frame(2);
      const Slot in = frame.AddInput(x), y = frame.AddOutput(kRows);
      const Linear op{w.matrix(), nullptr, in, y, false};
      std::vector<double> d(frame.f.begin(), frame.f.end());
      Run(ReferenceKernels(), op, d.data(), {0, Units(op)});
      Run(table(), op, frame.f, {0, Units(op)});
      for (uint32_t r = 0; r < kRows; ++r) {
        ASSERT_NEAR(frame.f[y + r], d[y + r], 2e-5 * size) << Name(type) << " size " << size;
      }
    }
  }
}

// The digits at their ends: x just below, at and above powers of two, of either sign.
TEST_P(LinearTest, InputsNearPowersOfTwo) {
  constexpr uint32_t kRows = 16, kCols = 70;
  for (DType type : kTypes) {
    Weights w(Random(kRows * kCols), kRows, kCols, type, Layout::panel);
    for (uint32_t r = 0; r < kRows; ++r) {
      for (uint32_t c = 0; c < kCols; ++c) {
        const bool up = r % 4 == 0 || (r % 4 == 1 && c % 2);
        if (type == DType::i16) w.At<int16_t>(r, c) = up ? 32767 : -32768;
        if (type == DType::i8) w.At<int8_t>(r, c) = up ? 127 : -128;
      }
    }
    for (float size : {0.5f, 0.97f, 0.99f, 0.9985f, 0.9995f, 1 - 6e-8f, 1.0f, 1 + 1.2e-7f}) {
      for (float other : {size, -size, 0.499f * size, -size / 4093, size / 253, size / 128018}) {
        std::vector<float> x(kCols, other);
        x[0] = size;
        Frame frame;
        const Slot in = frame.AddInput(x), y = frame.AddOutput(kRows);
        frame.Check(Linear{w.matrix(), nullptr, in, y, false}, table(), 3e-5, Name(type));
      }
    }
  }
}

TEST_P(LinearTest, InputsThatAreNoNumbersReachEveryRow) {
  constexpr uint32_t kRows = 35, kCols = 130;
  for (DType type : kTypes) {
    const Weights w(Random(kRows * kCols, 0.5f, 1), kRows, kCols, type, Layout::panel);
    for (float bad :
         {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(),
          -std::numeric_limits<float>::infinity()}) {
      std::vector<float> x = Random(kCols);
      x[77] = bad;
      Frame frame;
      const Slot in = frame.AddInput(x), y = frame.AddOutput(kRows);
      const Linear op{w.matrix(), nullptr, in, y, false};
      Run(table(), op, frame.f, {0, Units(op)});
      for (uint32_t r = 0; r < kRows; ++r) {
        ASSERT_FALSE(std::isfinite(frame.f[y + r])) << Name(type) << " row " << r;
      }
    }
  }
}

TEST_P(LinearTest, TwoByThree) {
  for (Layout layout : {Layout::panel, Layout::rows}) {
    const Weights w({1, 2, 3, 4, 5, 6}, 2, 3, DType::f32, layout);
    const float bias[2] = {0.5f, -1};
    Frame frame;
    const Slot x = frame.AddInput({1, -1, 2});
    const Slot y = frame.Add({100, 200});
    Linear op{w.matrix(), bias, x, y, false};
    frame.Check(op, table(), 0);
    EXPECT_EQ(frame.f[y], 1 - 2 + 6 + 0.5f);
    EXPECT_EQ(frame.f[y + 1], 4 - 5 + 12 - 1);
    op.accumulate = true;
    frame.Check(op, table(), 0);
    EXPECT_EQ(frame.f[y], 11);
    EXPECT_EQ(frame.f[y + 1], 20);
  }
}

}  // namespace
}  // namespace xst::kernels
