#include "tests/unit/kernels/harness.h"
#include "tests/unit/kernels/weights.h"

namespace xst::kernels {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();

// Where channel c's row of gate g lies.
size_t GateRow(size_t c, size_t g) { return c / 16 * 64 + g * 16 + c % 16; }

// A matrix of SlstmInput or SlstmCell; rows of missing channels are 0.
Weights GateMatrix(const std::vector<float>& w, uint32_t channels, uint32_t dim,
                   DType type = DType::f32) {
  const uint32_t rows = 4 * RoundUp16(channels);
  std::vector<float> ordered(size_t{rows} * dim, 0);
  for (size_t c = 0; c < channels; ++c) {
    for (size_t g = 0; g < 4; ++g) {
      for (size_t k = 0; k < dim; ++k) {
        ordered[GateRow(c, g) * dim + k] = w[(g * channels + c) * dim + k];
      }
    }
  }
  return Weights(ordered, rows, dim, type, Layout::panel);
}

std::vector<float> GateVector(const std::vector<float>& b, uint32_t channels) {
  std::vector<float> v(4 * RoundUp16(channels), 0);
  for (size_t c = 0; c < channels; ++c) {
    for (size_t g = 0; g < 4; ++g) v[GateRow(c, g)] = b[g * channels + c];
  }
  return v;
}

// Up to more than a block of columns, all tails of each.
std::vector<uint32_t> HeadSizes() {
  std::vector<uint32_t> sizes = Sizes();
  for (uint32_t dim = 48; dim <= 70; dim += dim == 48 ? 15 : 1) sizes.push_back(dim);
  return sizes;
}

using SlstmInputTest = OpTest;
XST_OP_TEST_SUITE(SlstmInputTest);

TEST_P(SlstmInputTest, EveryHeadSize) {
  for (DType type : kTypes) {
    for (uint32_t dim : HeadSizes()) {
      for (uint32_t heads : {1u, 2u, 3u, 5u}) {
        const uint32_t n = heads * dim;
        const Weights w = GateMatrix(Random(4 * n * dim), n, dim, type);
        Frame frame((dim + heads) % 4);
        const Slot conv = frame.AddInput(Random(n)), u = frame.AddInput(Random(n));
        const Slot wx = frame.AddOutput(4 * RoundUp16(n));
        frame.Check(SlstmInput{w.matrix(), n, dim, conv, u, wx}, table(), 5e-6,
                    Name(type) + " dim " + std::to_string(dim) + " heads " + std::to_string(heads));
      }
    }
  }
}

TEST_P(SlstmInputTest, GatesSeeTheirInput) {
  // Two heads of one channel; gate weights 1, 10, 100, 1000 and twice that.
  const Weights w = GateMatrix({1, 2, 10, 20, 100, 200, 1000, 2000}, 2, 1);
  Frame frame;
  const Slot conv = frame.AddInput({3, 5}), u = frame.AddInput({7, 9}), wx = frame.AddOutput(64);
  frame.Check(SlstmInput{w.matrix(), 2, 1, conv, u, wx}, table(), 0);
  EXPECT_EQ(frame.f[wx], 3);
  EXPECT_EQ(frame.f[wx + 1], 10);
  EXPECT_EQ(frame.f[wx + 16], 30);
  EXPECT_EQ(frame.f[wx + 17], 100);
  EXPECT_EQ(frame.f[wx + 32], 700);
  EXPECT_EQ(frame.f[wx + 33], 1800);
  EXPECT_EQ(frame.f[wx + 48], 7000);
  EXPECT_EQ(frame.f[wx + 49], 18000);
}

class SlstmCellTest : public OpTest {
 protected:
  // Gate inputs are wx; R, y and the bias are small.
  void CheckCell(uint32_t heads, uint32_t dim, DType type, const std::vector<float>& gates,
                 bool lstm, bool fresh, float forget_cap, uint32_t misalignment, double tolerance) {
    const uint32_t n = heads * dim;
    const Weights r = GateMatrix(Random(4 * n * dim), n, dim, type);
    const Aligned bias(GateVector(Random(4 * n), n));
    Frame frame(misalignment);
    SlstmCell o{r.matrix(), bias.data(), n, dim, forget_cap, lstm, 0, 0, 0, 0, 0, 0};
    o.wx = frame.AddInput(GateVector(gates, n));
    o.y = frame.AddInput(Random(n));
    o.c = frame.Add(fresh ? std::vector<float>(n, 0) : Random(n));
    // Without n and m, as `lstm` has it, the slots are never used.
    o.n = lstm ? 0 : frame.Add(fresh ? std::vector<float>(n, 0) : Random(n, 1, 3));
    o.m = lstm ? 0 : frame.Add(fresh ? std::vector<float>(n, 0) : Random(n, -2, 2));
    o.out = frame.AddOutput(n);
    frame.Check(o, table(), tolerance,
                Name(type) + " heads " + std::to_string(heads) + " dim " + std::to_string(dim) +
                    " lstm " + std::to_string(lstm));
    for (uint32_t i = 0; i < n; ++i) ASSERT_TRUE(std::isfinite(frame.f[o.out + i]));
  }
};
XST_OP_TEST_SUITE(SlstmCellTest);

TEST_P(SlstmCellTest, EveryHeadSize) {
  for (DType type : kTypes) {
    for (uint32_t dim : HeadSizes()) {
      for (uint32_t heads : {1u, 2u, 3u, 5u}) {
        const uint32_t i = dim * 7 + heads;
        CheckCell(heads, dim, type, Random(4 * heads * dim, -3, 3), i % 3 == 0, i % 5 == 0,
                  i % 2 ? kInf : 0.5f, i % 4, 1e-5);
      }
    }
  }
}

TEST_P(SlstmCellTest, ExtremeGates) {
  for (float i : {-900.0f, -200.0f, -30.0f, 30.0f, 200.0f, 900.0f}) {
    for (float f : {-900.0f, -200.0f, -30.0f, 30.0f, 200.0f, 900.0f}) {
      for (float zo : {-900.0f, -30.0f, 30.0f, 900.0f}) {
        for (bool fresh : {false, true}) {
          for (bool lstm : {false, true}) {
            constexpr uint32_t kDim = 11;
            std::vector<float> gates;
            for (float g : {i, f, zo, -zo}) gates.insert(gates.end(), kDim, g);
            CheckCell(1, kDim, DType::f32, gates, lstm, fresh, kInf, 3, 3e-4);
          }
        }
      }
    }
  }
}

// Fresh and running channels side by side: the rule is per channel.
TEST_P(SlstmCellTest, FreshnessIsPerChannel) {
  constexpr uint32_t kN = 3;
  const Weights r = GateMatrix(std::vector<float>(4 * kN * kN, 0), kN, kN);
  const Aligned bias(std::vector<float>(64, 0));
  Frame frame;
  SlstmCell o{r.matrix(), bias.data(), kN, kN, kInf, false, 0, 0, 0, 0, 0, 0};
  std::vector<float> gates(4 * kN, 0);
  for (uint32_t c = 0; c < kN; ++c) gates[c] = -200;          // i
  gates[2 * kN] = gates[2 * kN + 1] = gates[2 * kN + 2] = 1;  // z
  o.wx = frame.AddInput(GateVector(gates, kN));
  o.y = frame.AddInput({0, 0, 0});
  o.c = frame.Add({0, 0.5f, 0});
  o.n = frame.Add({0, 1, 0});
  o.m = frame.Add({0, 0, 0});
  o.out = frame.AddOutput(kN);
  frame.Check(o, table(), 1e-6);
  for (uint32_t c : {0u, 2u}) {
    EXPECT_EQ(frame.f[o.m + c], -200);
    EXPECT_EQ(frame.f[o.n + c], 1);
    EXPECT_NEAR(frame.f[o.c + c], std::tanh(1.0), 1e-6);
    EXPECT_NEAR(frame.f[o.out + c], 0.5 * std::tanh(1.0), 1e-6);
  }
  EXPECT_NEAR(frame.f[o.m + 1], -std::log(2.0), 1e-6);
  EXPECT_EQ(frame.f[o.n + 1], 1);
  EXPECT_EQ(frame.f[o.out + 1], 0.25f);
}

// Loops written from the equations, not from the reference.
TEST_P(SlstmCellTest, WrittenOut) {
  constexpr uint32_t kHeads = 2, kDim = 9, kN = kHeads * kDim, kSteps = 6;
  for (bool lstm : {false, true}) {
    const std::vector<float> R = Random(4 * kN * kDim), b = Random(4 * kN);
    const Weights r = GateMatrix(R, kN, kDim);
    const Aligned bias(GateVector(b, kN));
    Frame frame;
    SlstmCell o{r.matrix(), bias.data(), kN, kDim, kInf, lstm, 0, 0, 0, 0, 0, 0};
    const std::vector<float> zero(kN, 0);
    o.wx = frame.Add(std::vector<float>(4 * RoundUp16(kN), 0));
    o.y = frame.Add(zero), o.c = frame.Add(zero), o.n = frame.Add(zero), o.m = frame.Add(zero);
    o.out = frame.AddOutput(kN);
    std::vector<double> d(frame.f.begin(), frame.f.end());
    double y[kN] = {}, c[kN] = {}, n[kN] = {}, m[kN] = {};
    for (uint32_t t = 0; t < kSteps; ++t) {
      const std::vector<float> w = Random(4 * kN, -3, 3), wx = GateVector(w, kN);
      for (size_t i = 0; i < wx.size(); ++i) d[o.wx + i] = frame.f[o.wx + i] = wx[i];
      Run(ReferenceKernels(), Op(o), d.data(), {0, Units(o)});
      Run(table(), Op(o), frame.f, {0, Units(o)});
      double out[kN];
      for (uint32_t i = 0; i < kN; ++i) {
        double raw[4];
        for (uint32_t g = 0; g < 4; ++g) {
          raw[g] = double{w[g * kN + i]} + b[g * kN + i];
          for (uint32_t k = 0; k < kDim; ++k) {
            raw[g] += double{R[(g * kN + i) * kDim + k]} * y[i / kDim * kDim + k];
          }
        }
        const auto sigmoid = [](double a) { return 1 / (1 + std::exp(-a)); };
        if (lstm) {
          c[i] = sigmoid(raw[1]) * c[i] + sigmoid(raw[0]) * std::tanh(raw[2]);
          out[i] = sigmoid(raw[3]) * std::tanh(c[i]);
        } else {
          const double lfm = m[i] - std::log(1 + std::exp(-raw[1]));
          const double m_new = t == 0 || raw[0] > lfm ? raw[0] : lfm;
          const double I = std::exp(raw[0] - m_new), F = t == 0 ? 0 : std::exp(lfm - m_new);
          c[i] = F * c[i] + I * std::tanh(raw[2]);
          n[i] = F * n[i] + I;
          m[i] = m_new;
          out[i] = sigmoid(raw[3]) * c[i] / n[i];
        }
        ASSERT_NEAR(d[o.out + i], out[i], 1e-12) << "step " << t;
        ASSERT_NEAR(frame.f[o.out + i], out[i], 1e-5) << "step " << t;
        ASSERT_NEAR(d[o.c + i], c[i], 1e-12) << "step " << t;
      }
      for (uint32_t i = 0; i < kN; ++i) {
        y[i] = out[i];
        d[o.y + i] = d[o.out + i];
        frame.f[o.y + i] = frame.f[o.out + i];
      }
    }
  }
}

using SlstmOutTest = OpTest;
XST_OP_TEST_SUITE(SlstmOutTest);

TEST_P(SlstmOutTest, EveryHeadSize) {
  for (uint32_t dim : Sizes()) {
    for (uint32_t heads : {1u, 2u, 5u}) {
      for (bool weight : {false, true}) {
        const uint32_t n = heads * dim;
        const std::vector<float> w = Random(n);
        Frame frame((dim + heads) % 4);
        const Slot out = frame.AddInput(Random(n)), y = frame.Add(Random(n));
        const Slot x = frame.Add(Random(n));
        frame.Check(SlstmOut{weight ? w.data() : nullptr, heads, dim, 1e-5f, out, y, x}, table(),
                    3e-6, "dim " + std::to_string(dim));
        for (uint32_t i = 0; i < n; ++i) ASSERT_EQ(frame.f[y + i], frame.f[out + i]);
      }
    }
  }
}

TEST_P(SlstmOutTest, ConstantHeadAddsNothing) {
  for (uint32_t dim : {1u, 7u, 32u}) {
    Frame frame;
    const std::vector<float> before = Random(dim);
    const Slot out = frame.AddInput(std::vector<float>(dim, 0.1f)), y = frame.AddOutput(dim);
    const Slot x = frame.Add(before);
    frame.Check(SlstmOut{nullptr, 1, dim, 1e-5f, out, y, x}, table(), 0);
    for (uint32_t i = 0; i < dim; ++i) EXPECT_EQ(frame.f[x + i], before[i]);
  }
}

}  // namespace
}  // namespace xst::kernels
