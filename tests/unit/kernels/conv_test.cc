#include "tests/unit/kernels/harness.h"

namespace xst::kernels {
namespace {

using ConvTest = OpTest;
XST_OP_TEST_SUITE(ConvTest);

TEST_P(ConvTest, EverySizeAndKernel) {
  for (uint32_t n : Sizes()) {
    for (uint32_t kernel : {1u, 2u, 3u, 4u, 7u}) {
      const uint32_t stride = RoundUp16(n);
      const Aligned w(Random(kernel * stride));
      const std::vector<float> bias = Random(n);
      Frame frame((n + kernel) % 4);
      const Slot history = frame.Add(Random((kernel - 1) * stride));
      const Slot x = frame.AddInput(Random(n, -3, 3)), y = frame.AddOutput(n);
      frame.Check(Conv{w.data(), bias.data(), n, kernel, stride, history, x, y}, table(), 1e-6,
                  "channels " + std::to_string(n) + " kernel " + std::to_string(kernel));
    }
  }
}

// Against the definition over a whole sequence, written out.
TEST_P(ConvTest, Sequence) {
  constexpr uint32_t kChannels = 5, kKernel = 3, kSteps = 9, kStride = 16;
  std::vector<float> w = Random(kKernel * kStride), bias = Random(kChannels);
  const std::vector<float> inputs = Random(kSteps * kChannels);
  Frame frame;
  const Slot history = frame.Add(std::vector<float>((kKernel - 1) * kStride, 0));
  const Slot x = frame.Add(std::vector<float>(kChannels, 0)), y = frame.AddOutput(kChannels);
  const Op op = Conv{w.data(), bias.data(), kChannels, kKernel, kStride, history, x, y};
  for (uint32_t t = 0; t < kSteps; ++t) {
    for (uint32_t c = 0; c < kChannels; ++c) frame.f[x + c] = inputs[t * kChannels + c];
    std::vector<double> d(frame.f.begin(), frame.f.end());
    Run(ReferenceKernels(), op, d.data(), {0, 1});
    Run(table(), op, frame.f, {0, 1});
    for (uint32_t c = 0; c < kChannels; ++c) {
      double sum = bias[c];
      for (uint32_t j = 0; j < kKernel;
           ++j) {  // tap j meets the input of kKernel - 1 - j steps ago
        const int s = static_cast<int>(t + j) - static_cast<int>(kKernel - 1);
        if (s >= 0)
          sum += double{w[j * kStride + c]} * inputs[static_cast<uint32_t>(s) * kChannels + c];
      }
      const double expected = sum / (1 + std::exp(-sum));
      ASSERT_NEAR(frame.f[y + c], expected, 1e-6) << "step " << t << " channel " << c;
      ASSERT_NEAR(d[y + c], expected, 1e-14) << "step " << t << " channel " << c;
    }
  }
}

}  // namespace
}  // namespace xst::kernels
