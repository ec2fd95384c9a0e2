#include "tests/unit/kernels/harness.h"

namespace xst::kernels {
namespace {

using PointwiseTest = OpTest;
XST_OP_TEST_SUITE(PointwiseTest);

TEST_P(PointwiseTest, EverySizeAndKind) {
  for (PointwiseKind kind : {PointwiseKind::relu, PointwiseKind::soft_cap}) {
    for (uint32_t n : Sizes()) {
      for (bool in_place : {false, true}) {
        Frame frame(n % 4);
        const std::vector<float> v = Random(n, -90, 90);
        const Slot x = in_place ? frame.Add(v) : frame.AddInput(v);
        const Slot y = in_place ? x : frame.AddOutput(n);
        frame.Check(Pointwise{kind, n % 2 ? 30.0f : 15.0f, n, x, y}, table(), 1e-6,
                    "size " + std::to_string(n));
      }
    }
  }
}

TEST_P(PointwiseTest, KnownValues) {
  const std::vector<float> v = {-1e30f, -2, -1e-20f, 0, 1e-20f, 2, 30, 1e30f};
  const uint32_t n = static_cast<uint32_t>(v.size());
  Frame frame;
  const Slot x = frame.AddInput(v), y = frame.AddOutput(n), z = frame.AddOutput(n);
  Run(table(), Pointwise{PointwiseKind::relu, 0, n, x, y}, frame.f, {0, 1});
  Run(table(), Pointwise{PointwiseKind::soft_cap, 30, n, x, z}, frame.f, {0, 1});
  for (uint32_t i = 0; i < n; ++i) EXPECT_EQ(frame.f[y + i], v[i] > 0 ? v[i] : 0);
  EXPECT_EQ(frame.f[z], -30);
  EXPECT_NEAR(frame.f[z + 1], -1.9970423, 1e-6);
  EXPECT_NEAR(frame.f[z + 4], 1e-20, 1e-26);
  EXPECT_NEAR(frame.f[z + 6], 22.847825, 1e-5);
  EXPECT_EQ(frame.f[z + 7], 30);
}

// What an op sees is its caller's to judge: a NaN is not made to look like a number.
TEST_P(PointwiseTest, NanStays) {
  Frame frame;
  const Slot x = frame.AddInput({NAN, 1}), y = frame.AddOutput(2);
  for (PointwiseKind kind : {PointwiseKind::relu, PointwiseKind::soft_cap}) {
    Run(table(), Pointwise{kind, 5, 2, x, y}, frame.f, {0, 1});
    EXPECT_TRUE(std::isnan(frame.f[y]));
    EXPECT_FALSE(std::isnan(frame.f[y + 1]));
  }
}

}  // namespace
}  // namespace xst::kernels
