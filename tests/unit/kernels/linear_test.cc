#include "tests/unit/kernels/harness.h"

namespace xst::kernels {
namespace {

class LinearTest : public OpTest {
 protected:
  void CheckSize(uint32_t rows, uint32_t cols, Layout layout, bool bias, bool accumulate,
                 uint32_t misalignment) {
    const Aligned w(Pack(Random(rows * cols), rows, cols, layout));
    const std::vector<float> b = Random(rows);
    Frame frame(misalignment);
    const Slot x = frame.AddInput(Random(cols));
    const Slot y = accumulate ? frame.Add(Random(rows)) : frame.AddOutput(rows);
    const Linear op{{w.data(), nullptr, rows, cols, DType::f32, layout},
                    bias ? b.data() : nullptr,
                    x,
                    y,
                    accumulate};
    frame.Check(op, table(), 1e-6 * std::sqrt(cols),
                "rows " + std::to_string(rows) + " cols " + std::to_string(cols));
  }
};
XST_OP_TEST_SUITE(LinearTest);

TEST_P(LinearTest, SmallSizes) {
  for (Layout layout : {Layout::panel, Layout::rows}) {
    for (uint32_t rows : Sizes()) {
      for (uint32_t cols : Sizes()) {
        const uint32_t i = rows * 41 + cols;
        CheckSize(rows, cols, layout, i % 2 == 0, i % 3 == 0, i % 4);
      }
    }
  }
}

TEST_P(LinearTest, LargeSizes) {
  for (Layout layout : {Layout::panel, Layout::rows}) {
    for (uint32_t rows : {8u, 64u, 127u, 128u, 129u, 300u}) {
      for (uint32_t cols : {63u, 64u, 65u, 128u, 129u, 500u, 768u}) {
        for (bool bias : {false, true}) {
          for (bool accumulate : {false, true}) {
            CheckSize(rows, cols, layout, bias, accumulate, (rows + cols) % 4);
          }
        }
      }
    }
  }
}

TEST_P(LinearTest, TwoByThree) {
  for (Layout layout : {Layout::panel, Layout::rows}) {
    const Aligned w(Pack({1, 2, 3, 4, 5, 6}, 2, 3, layout));
    const float bias[2] = {0.5f, -1};
    Frame frame;
    const Slot x = frame.AddInput({1, -1, 2});
    const Slot y = frame.Add({100, 200});
    Linear op{{w.data(), nullptr, 2, 3, DType::f32, layout}, bias, x, y, false};
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
