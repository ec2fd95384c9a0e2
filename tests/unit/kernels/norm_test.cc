#include "tests/unit/kernels/harness.h"

namespace xst::kernels {
namespace {

using NormTest = OpTest;
XST_OP_TEST_SUITE(NormTest);

TEST_P(NormTest, EverySize) {
  for (uint32_t n : Sizes()) {
    for (int variant = 0; variant < 16; ++variant) {
      const bool weight = variant & 1, bias = variant & 2, center = variant & 4;
      const bool in_place = variant & 8;
      const std::vector<float> w = Random(n), b = Random(n);
      Frame frame((n + static_cast<uint32_t>(variant)) % 4);
      const std::vector<float> values = Random(n, -3, 3);
      const Slot x = in_place ? frame.Add(values) : frame.AddInput(values);
      const Slot y = in_place ? x : frame.AddOutput(n);
      frame.Check(Norm{weight ? w.data() : nullptr, bias ? b.data() : nullptr, n % 2 ? 1.0f : 0.0f,
                       1e-5f, n, center, x, y},
                  table(), 2e-6, "size " + std::to_string(n));
    }
  }
}

// An offset much larger than the deviations, and an outlier in the first place.
TEST_P(NormTest, OffsetAndOutlier) {
  for (uint32_t n : {2u, 7u, 64u, 128u, 1000u}) {
    for (float offset : {100.0f, -1e4f}) {
      std::vector<float> v = Random(n);
      for (float& x : v) x += offset;
      Frame frame(1);
      const Slot x = frame.AddInput(v), y = frame.AddOutput(n);
      frame.Check(Norm{nullptr, nullptr, 0, 1e-5f, n, true, x, y}, table(), 2e-6);
    }
    std::vector<float> v = Random(n);
    v[0] = 1e5f;
    Frame frame;
    const Slot x = frame.AddInput(v), y = frame.AddOutput(n);
    frame.Check(Norm{nullptr, nullptr, 0, 1e-5f, n, true, x, y}, table(), 2e-6);
  }
}

TEST_P(NormTest, ConstantInputGivesExactlyTheBias) {
  for (uint32_t n : {1u, 3u, 16u, 33u, 100u, 128u}) {
    for (float value : {0.0f, 0.1f, -7.3f, 12345.678f, 1e30f}) {
      const std::vector<float> w = Random(n), b = Random(n);
      Frame frame(n % 4);
      const Slot x = frame.AddInput(std::vector<float>(n, value)), y = frame.AddOutput(n);
      frame.Check(Norm{w.data(), b.data(), 1, 1e-5f, n, true, x, y}, table(), 0);
      for (uint32_t i = 0; i < n; ++i) ASSERT_EQ(frame.f[y + i], b[i]);
    }
  }
}

TEST_P(NormTest, ThreeValues) {
  const float w[3] = {0, 1, -1};
  Frame frame;
  const Slot x = frame.AddInput({1, 2, 6}), y = frame.AddOutput(3), rms = frame.AddOutput(3);
  Op op = Norm{w, nullptr, 1, 0.5f, 3, true, x, y};
  Run(table(), op, frame.f, {0, 1});
  const double rstd = 1 / std::sqrt(14.0 / 3 + 0.5);
  EXPECT_NEAR(frame.f[y], -2 * rstd, 1e-6);
  EXPECT_NEAR(frame.f[y + 1], -1 * rstd * 2, 1e-6);
  EXPECT_EQ(frame.f[y + 2], 0);
  op = Norm{w, nullptr, 1, 0.5f, 3, false, x, rms};
  Run(table(), op, frame.f, {0, 1});
  const double scale = 1 / std::sqrt(41.0 / 3 + 0.5);
  EXPECT_NEAR(frame.f[rms], scale, 1e-6);
  EXPECT_NEAR(frame.f[rms + 1], 4 * scale, 1e-6);
  EXPECT_EQ(frame.f[rms + 2], 0);
}

}  // namespace
}  // namespace xst::kernels
