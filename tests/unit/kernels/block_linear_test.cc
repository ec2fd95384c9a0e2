#include "tests/unit/kernels/harness.h"
#include "tests/unit/kernels/weights.h"

namespace xst::kernels {
namespace {

class BlockLinearTest : public OpTest {
 protected:
  void CheckSize(uint32_t rows, uint32_t block, DType type, bool bias, uint32_t misalignment) {
    const Weights w(Random(rows * block), rows, block, type, Layout::panel);
    const std::vector<float> b = Random(rows);
    Frame frame(misalignment);
    const Slot x = frame.AddInput(Random(rows));
    const Slot y = frame.AddOutput(rows);
    const BlockLinear op{w.matrix(), bias ? b.data() : nullptr, x, y};
    frame.Check(op, table(), 1e-6 * std::sqrt(block),
                Name(type) + " rows " + std::to_string(rows) + " block " + std::to_string(block));
  }
};
XST_OP_TEST_SUITE(BlockLinearTest);

TEST_P(BlockLinearTest, EveryBlockSize) {
  for (DType type : kTypes) {
    for (uint32_t block = 1; block <= 70; ++block) {
      for (uint32_t blocks : {1u, 2u, 3u, 4u, 7u, 9u}) {
        CheckSize(block * blocks, block, type, (block + blocks) % 2 == 0, (block / 2 + blocks) % 4);
      }
    }
  }
}

TEST_P(BlockLinearTest, BlocksOfFour) {
  for (DType type : kTypes) {
    for (uint32_t blocks = 1; blocks <= 70; ++blocks) {
      for (bool bias : {false, true}) CheckSize(blocks * 4, 4, type, bias, blocks % 4);
    }
  }
}

TEST_P(BlockLinearTest, TwoBlocksOfTwo) {
  const Weights w({1, 2, 3, 4, 5, 6, 7, 8}, 4, 2, DType::f32, Layout::panel);
  Frame frame;
  const Slot x = frame.AddInput({1, 10, 100, 1000});
  const Slot y = frame.AddOutput(4);
  frame.Check(BlockLinear{w.matrix(), nullptr, x, y}, table(), 0);
  EXPECT_EQ(frame.f[y], 21);
  EXPECT_EQ(frame.f[y + 1], 43);
  EXPECT_EQ(frame.f[y + 2], 6500);
  EXPECT_EQ(frame.f[y + 3], 8700);
}

}  // namespace
}  // namespace xst::kernels
