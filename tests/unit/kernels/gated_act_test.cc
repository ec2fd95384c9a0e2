#include "tests/unit/kernels/harness.h"

namespace xst::kernels {
namespace {

constexpr Activation kAll[] = {Activation::gelu,    Activation::relu,  Activation::relu2,
                               Activation::sigmoid, Activation::swish, Activation::selu};

using GatedActTest = OpTest;
XST_OP_TEST_SUITE(GatedActTest);

TEST_P(GatedActTest, EverySizeAndActivation) {
  for (Activation act : kAll) {
    for (uint32_t n : Sizes()) {
      for (int alias = 0; alias < 3; ++alias) {
        Frame frame(n % 4);
        const std::vector<float> a = Random(n, -6, 6), b = Random(n);
        const Slot gate = alias == 1 ? frame.Add(a) : frame.AddInput(a);
        const Slot linear = alias == 2 ? frame.Add(b) : frame.AddInput(b);
        const Slot y = alias == 1 ? gate : alias == 2 ? linear : frame.AddOutput(n);
        frame.Check(GatedAct{act, n, gate, linear, y}, table(), 1e-6,
                    "activation " + std::to_string(static_cast<int>(act)));
      }
    }
  }
}

TEST_P(GatedActTest, FarInputs) {
  for (Activation act : kAll) {
    Frame frame;
    const std::vector<float> a = {-1e9f, -1000, -100, -88, -30, -1e-8f,
                                  0,     1e-8f, 30,   88,  100, 1000};
    const uint32_t n = static_cast<uint32_t>(a.size());
    const Slot gate = frame.AddInput(a), linear = frame.AddInput(std::vector<float>(n, 1));
    const Slot y = frame.AddOutput(n);
    frame.Check(GatedAct{act, n, gate, linear, y}, table(), 1e-6,
                "activation " + std::to_string(static_cast<int>(act)));
  }
}

TEST_P(GatedActTest, KnownValues) {
  const double expected[6][2] = {{0.8413447460685429, -0.1586552539314571},
                                 {1, 0},
                                 {1, 0},
                                 {0.7310585786300049, 0.2689414213699951},
                                 {0.7310585786300049, -0.2689414213699951},
                                 {1.0507009873554805, -1.1113307378125625}};
  for (int i = 0; i < 6; ++i) {
    Frame frame;
    const Slot gate = frame.AddInput({1, -1}), linear = frame.AddInput({2, 3});
    const Slot y = frame.AddOutput(2);
    const Op op = GatedAct{kAll[i], 2, gate, linear, y};
    std::vector<double> d(frame.f.begin(), frame.f.end());
    Run(ReferenceKernels(), op, d.data(), {0, 1});
    Run(table(), op, frame.f, {0, 1});
    EXPECT_NEAR(d[y], 2 * expected[i][0], 1e-14);
    EXPECT_NEAR(d[y + 1], 3 * expected[i][1], 1e-14);
    EXPECT_NEAR(frame.f[y], 2 * expected[i][0], 1e-6);
    EXPECT_NEAR(frame.f[y + 1], 3 * expected[i][1], 1e-6);
  }
}

}  // namespace
}  // namespace xst::kernels
