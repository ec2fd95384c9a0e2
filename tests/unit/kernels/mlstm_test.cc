#include "tests/unit/kernels/harness.h"

namespace xst::kernels {
namespace {

class MlstmCellTest : public OpTest {
 protected:
  struct Case {
    uint32_t heads, dk, dv;
    std::vector<float> gates;  // [2 * heads]: i, then f
    bool fresh = false;
    float cap = 0;
    bool scale_key = true;
    float scale = 1;  // of q, k, v
    uint32_t misalignment = 0;
  };

  MlstmCell Place(Frame& frame, const Case& c) {
    MlstmCell o{c.heads,
                c.dk,
                c.dv,
                RoundUp16(c.dv),
                RoundUp16(c.dk),
                1e-6f,
                c.cap,
                c.scale_key,
                0,
                0,
                0,
                0,
                0,
                0,
                0,
                0};
    o.q = frame.AddInput(Random(c.heads * c.dk, -c.scale, c.scale));
    o.k = frame.AddInput(Random(c.heads * c.dk, -c.scale, c.scale));
    o.v = frame.AddInput(Random(c.heads * c.dv, -c.scale, c.scale));
    o.h = frame.AddOutput(c.heads * c.dv);
    o.gates = frame.AddInput(c.gates);
    // A sum q . n' of one sign keeps h well conditioned.
    std::vector<float> n(c.heads * o.stride_n, 0);
    for (uint32_t h = 0; h < c.heads; ++h) {
      for (uint32_t i = 0; i < c.dk; ++i) {
        n[h * o.stride_n + i] = c.fresh ? 0 : frame.f[o.q + h * c.dk + i];
      }
    }
    const size_t size_c = c.heads * c.dk * o.stride_c;
    o.c = frame.Add(c.fresh ? std::vector<float>(size_c, 0) : Random(size_c));
    o.n = frame.Add(n);
    o.m = frame.Add(c.fresh ? std::vector<float>(c.heads, 0) : Random(c.heads, 0, 2));
    return o;
  }
  void CheckCase(const Case& c, double tolerance) {
    Frame frame(c.misalignment);
    const MlstmCell op = Place(frame, c);
    frame.Check(op, table(), tolerance,
                "heads " + std::to_string(c.heads) + " dk " + std::to_string(c.dk) + " dv " +
                    std::to_string(c.dv) + " i " + std::to_string(c.gates[0]) + " f " +
                    std::to_string(c.gates[c.heads]));
    for (uint32_t i = 0; i < c.heads * c.dv; ++i) ASSERT_TRUE(std::isfinite(frame.f[op.h + i]));
  }
};
XST_OP_TEST_SUITE(MlstmCellTest);

TEST_P(MlstmCellTest, EveryHeadSize) {
  for (uint32_t dk : Sizes()) {
    for (uint32_t dv : Sizes()) {
      Case c{1 + dk % 3, dk, dv, {}};
      c.gates = Random(2 * c.heads, -2, 2);
      c.misalignment = (dk + dv) % 4;
      c.scale_key = dv % 2;
      c.cap = dk % 5 == 0 ? 15 : 0;
      c.fresh = dk % 4 == 0;
      CheckCase(c, 4e-6);
    }
  }
}

TEST_P(MlstmCellTest, LargeHeads) {
  for (uint32_t dk : {64u, 100u, 256u}) {
    for (uint32_t dv : {64u, 71u, 128u, 512u}) {
      CheckCase({2, dk, dv, {1, -1, 2, 3}, false, 0, true, 1, 1}, 1e-5);
    }
  }
}

TEST_P(MlstmCellTest, ExtremeGates) {
  for (float i : {-900.0f, -200.0f, -30.0f, 0.0f, 30.0f, 200.0f, 900.0f}) {
    for (float f : {-900.0f, -200.0f, -30.0f, 0.0f, 30.0f, 200.0f, 900.0f}) {
      for (bool fresh : {false, true}) {
        // The spacing of floats near 900 enters the exponents.
        CheckCase({1, 9, 21, {i, f}, fresh, 0, true, 1, 1}, 2e-4);
        CheckCase({1, 9, 21, {i, f}, fresh, 15, false, 1, 2}, 2e-5);
      }
    }
  }
}

// exp(-m') overflows for m' < -88.7; then h is 0.
TEST_P(MlstmCellTest, OverflowingFloorGivesZero) {
  Frame frame;
  const MlstmCell op = Place(frame, {1, 4, 4, {-200, -200}, true});
  Run(table(), op, frame.f, {0, 1});
  EXPECT_EQ(frame.f[op.m], -200);
  for (uint32_t i = 0; i < 4; ++i) EXPECT_EQ(frame.f[op.h + i], 0);
}

// Tiny q, k, v with a large input gate: there the eps of the denominator decides.
TEST_P(MlstmCellTest, DenominatorEps) {
  for (float scale : {1e-2f, 1e-3f, 1e-4f}) {
    Case c{2, 8, 8, {12, 14, 1, 2}, true};
    c.scale = scale;
    Frame frame;
    const MlstmCell op = Place(frame, c);
    std::vector<double> d(frame.f.begin(), frame.f.end());
    Run(ReferenceKernels(), op, d.data(), {0, 2});
    Run(table(), op, frame.f, {0, 2});
    for (uint32_t i = 0; i < 16; ++i) {
      EXPECT_NEAR(frame.f[op.h + i], d[op.h + i], 2e-6 * std::abs(d[op.h + i]) + 1e-12);
    }
  }
}

// Loops written from the equations, not from the reference.
TEST_P(MlstmCellTest, WrittenOut) {
  constexpr uint32_t kHeads = 3, kDk = 5, kDv = 7, kSteps = 6;
  for (bool scale_key : {true, false}) {
    Frame frame;
    Case place{kHeads, kDk, kDv, std::vector<float>(2 * kHeads, 0), true};
    place.scale_key = scale_key;
    MlstmCell op = Place(frame, place);
    op.gate_cap = scale_key ? 0 : 3.0f;
    std::vector<double> d(frame.f.begin(), frame.f.end());
    double C[kHeads][kDk][kDv] = {}, n[kHeads][kDk] = {}, m[kHeads] = {};
    for (uint32_t t = 0; t < kSteps; ++t) {
      const auto fill = [&](Slot at, const std::vector<float>& v) {
        for (size_t i = 0; i < v.size(); ++i) d[at + i] = frame.f[at + i] = v[i];
      };
      fill(op.q, Random(kHeads * kDk));
      fill(op.k, Random(kHeads * kDk));
      fill(op.v, Random(kHeads * kDv));
      fill(op.gates, Random(2 * kHeads, -4, 4));
      Run(ReferenceKernels(), Op(op), d.data(), {0, kHeads});
      Run(table(), Op(op), frame.f, {0, kHeads});
      for (uint32_t h = 0; h < kHeads; ++h) {
        double i = frame.f[op.gates + h], f = frame.f[op.gates + kHeads + h];
        if (!scale_key) i = 3 * std::tanh(i / 3), f = 3 * std::tanh(f / 3);
        const double lf = -std::log(1 + std::exp(-f));
        const double m_new = lf + m[h] > i ? lf + m[h] : i;
        double num[kDv] = {}, dot = 0;
        for (uint32_t a = 0; a < kDk; ++a) {
          const double root = std::sqrt(double{kDk});
          const double k = frame.f[op.k + h * kDk + a] / (scale_key ? root : 1);
          const double q = frame.f[op.q + h * kDk + a] / (scale_key ? 1 : root);
          n[h][a] = std::exp(lf + m[h] - m_new) * n[h][a] + std::exp(i - m_new) * k;
          dot += q * n[h][a];
          for (uint32_t b = 0; b < kDv; ++b) {
            C[h][a][b] = std::exp(lf + m[h] - m_new) * C[h][a][b] +
                         std::exp(i - m_new) * k * frame.f[op.v + h * kDv + b];
            num[b] += q * C[h][a][b];
          }
        }
        m[h] = m_new;
        const double floor = std::exp(-m_new);
        const double den = (std::abs(dot) > floor ? std::abs(dot) : floor) + double{1e-6f};
        for (uint32_t b = 0; b < kDv; ++b) {
          ASSERT_NEAR(d[op.h + h * kDv + b], num[b] / den, 1e-12);
          ASSERT_NEAR(frame.f[op.h + h * kDv + b], num[b] / den, 1e-5);
        }
        ASSERT_NEAR(d[op.m + h], m_new, 1e-14);
        ASSERT_NEAR(d[op.n + h * op.stride_n + 2], n[h][2], 1e-14);
        ASSERT_NEAR(d[op.c + (h * kDk + 1) * op.stride_c + 6], C[h][1][6], 1e-14);
      }
    }
  }
}

// Steps of one stream at once, against the reference step by step.
class MlstmSequenceTest : public MlstmCellTest {
 protected:
  struct Steps {
    uint32_t heads = 1, dk = 8, dv = 8;
    size_t count = kSequence;
    bool scale_key = true;
    float cap = 0;
    float low = -2, high = 2;  // of the gates
    uint32_t misalignment = 0;
  };

  template <class T>
  void Check(const Kernels<T>& table, const Steps& c, double tolerance) {
    SCOPED_TRACE("heads " + std::to_string(c.heads) + " dk " + std::to_string(c.dk) + " dv " +
                 std::to_string(c.dv) + " steps " + std::to_string(c.count));
    const Case first{c.heads,       c.dk,  c.dv,        Random(2 * c.heads, c.low, c.high),
                     c.dv % 3 == 0, c.cap, c.scale_key, 1,
                     c.misalignment};
    Frame frame(c.misalignment);
    const MlstmCell o = Place(frame, first);
    const size_t size = frame.f.size(), stride = size + c.misalignment;
    const std::vector<float> before = frame.f;
    std::vector<T> state(before.begin(), before.end()), tokens(c.count * stride, T(-123));
    std::vector<double> reference(before.begin(), before.end());
    for (size_t t = 0; t < c.count; ++t) {
      std::copy(before.begin(), before.end(), tokens.begin() + static_cast<long>(t * stride));
      const auto fill = [&](Slot at, const std::vector<float>& v) {
        std::copy(v.begin(), v.end(), tokens.begin() + static_cast<long>(t * stride + at));
      };
      // Keys near the queries keep q . n from cancelling.
      const std::vector<float> q = Random(c.heads * c.dk);
      std::vector<float> k = Random(c.heads * c.dk, -0.3f, 0.3f);
      for (size_t i = 0; i < k.size(); ++i) k[i] += before[o.q + i];
      std::vector<float> near = Random(c.heads * c.dk, -0.3f, 0.3f);
      for (size_t i = 0; i < near.size(); ++i) near[i] += before[o.q + i];
      fill(o.q, near);
      fill(o.k, k);
      fill(o.v, Random(c.heads * c.dv));
      fill(o.gates, Random(2 * c.heads, c.low, c.high));
    }
    const auto given = tokens;
    std::vector<T> scratch(SequenceScratch(o) + 16);
    void* at = scratch.data();
    size_t room = scratch.size() * sizeof(T);
    auto* aligned = static_cast<T*>(std::align(64, SequenceScratch(o) * sizeof(T), at, room));
    const Sequence<T> steps{tokens.data(), stride, c.count, state.data(), aligned};
    for (uint32_t h = c.heads; h-- > 0;) table.mlstm_sequence(o, steps, {h, h + 1});

    const auto near = [&](T got, double want, const char* what) {
      ASSERT_LE(std::abs(got - want), tolerance * std::max(1.0, std::abs(want))) << what;
    };
    for (size_t t = 0; t < c.count; ++t) {
      for (const auto& [slot, n] : {std::pair(o.q, c.heads * c.dk),
                                    {o.k, c.heads * c.dk},
                                    {o.v, c.heads * c.dv},
                                    {o.gates, 2 * c.heads}}) {
        std::copy_n(given.begin() + static_cast<long>(t * stride + slot), n,
                    reference.begin() + slot);
      }
      Run(ReferenceKernels(), Op(o), reference.data(), {0, c.heads});
      for (size_t i = 0; i < stride; ++i) {
        const T got = tokens[t * stride + i], old = given[t * stride + i];
        if (i >= o.h && i < o.h + c.heads * c.dv) {
          near(got, reference[i], "h");
        } else {
          ASSERT_TRUE(got == old || (std::isnan(got) && std::isnan(old))) << "element " << i;
        }
      }
    }
    const auto written = StateOf(Op(o), size);
    // C and n are in units of exp(m), which two right stabilisers need not agree on.
    for (size_t i = 0; i < size; ++i) {
      if (!written[i]) {
        ASSERT_TRUE(state[i] == before[i] || std::isnan(before[i])) << "element " << i;
      } else {
        near(state[i], reference[i], "state");
      }
    }
  }
  void Check(const Steps& c, double tolerance) {
    if (table().single()) Check(*table().single(), c, tolerance);
    if (table().wide()) Check(*table().wide(), c, tolerance);
  }
};
XST_OP_TEST_SUITE(MlstmSequenceTest);

TEST_P(MlstmSequenceTest, EveryHeadSize) {
  if (!table().splits()) GTEST_SKIP() << "on the CPU only";
  for (uint32_t dk : Sizes()) {
    for (uint32_t dv : Sizes()) {
      const uint32_t i = dk * 37 + dv;
      Check({1 + i % 3, dk, dv, 1 + i % kSequence, i % 2 == 0, i % 5 ? 0 : 15.0f, -2, 2, i % 4},
            2e-5);
    }
  }
}

TEST_P(MlstmSequenceTest, EveryLength) {
  if (!table().splits()) GTEST_SKIP() << "on the CPU only";
  for (size_t steps = 1; steps <= kSequence; ++steps) {
    Check({2, 64, 64, steps}, 2e-5);
    Check({1, 100, 71, steps, false, 15, -8, 8, 1}, 2e-5);
  }
  Check({2, 256, 512, kSequence}, 5e-5);
}

TEST_P(MlstmSequenceTest, ExtremeGates) {
  if (!table().splits()) GTEST_SKIP() << "on the CPU only";
  for (const auto& [low, high] : {std::pair(-900.0f, 900.0f),
                                  {-200.0f, -100.0f},
                                  {100.0f, 200.0f},
                                  {-30.0f, 30.0f},
                                  {-900.0f, -800.0f}}) {
    // The spacing of floats near the sums of gates enters the exponents.
    Check({2, 9, 21, 20, true, 0, low, high, 1}, 4e-3);
    Check({2, 9, 21, 20, false, 15, low, high, 2}, 2e-4);
  }
}

using MlstmOutTest = OpTest;
XST_OP_TEST_SUITE(MlstmOutTest);

TEST_P(MlstmOutTest, EveryHeadSize) {
  for (uint32_t dim : Sizes()) {
    for (uint32_t heads : {1u, 2u, 5u}) {
      for (uint32_t mode = 0; mode < 8; ++mode) {
        const bool sigmoid = mode & 1, with_bias = mode & 2, with_skip = mode & 4;
        const uint32_t n = heads * dim;
        const std::vector<float> w = Random(n), bias = Random(n), skip = Random(n);
        Frame frame((dim + heads) % 4);
        const Slot h = frame.AddInput(Random(n));
        const Slot c = frame.AddInput(with_skip ? Random(n) : std::vector<float>(n, NAN));
        const Slot z = frame.AddInput(Random(n, -6, 6)), y = frame.AddOutput(n);
        frame.Check(
            MlstmOut{w.data(), with_bias ? bias.data() : nullptr, with_skip ? skip.data() : nullptr,
                     mode % 3 ? 1.0f : 0.0f, sigmoid, heads, dim, 1e-5f, h, c, z, y},
            table(), 1e-5, "dim " + std::to_string(dim) + " mode " + std::to_string(mode));
      }
    }
  }
}

// Loops written from the equations, not from the reference.
TEST_P(MlstmOutTest, WrittenOut) {
  constexpr uint32_t kHeads = 2, kDim = 5, kN = kHeads * kDim;
  for (bool sigmoid : {false, true}) {
    for (bool skip : {false, true}) {
      const std::vector<float> w = Random(kN), b = Random(kN), s = Random(kN);
      Frame frame;
      const Slot h = frame.AddInput(Random(kN)), c = frame.AddInput(Random(kN));
      const Slot z = frame.AddInput(Random(kN, -3, 3)), y = frame.AddOutput(kN);
      const Op op = MlstmOut{w.data(),
                             skip ? nullptr : b.data(),
                             skip ? s.data() : nullptr,
                             skip ? 1.0f : 0.0f,
                             sigmoid,
                             kHeads,
                             kDim,
                             1e-3f,
                             h,
                             c,
                             z,
                             y};
      std::vector<double> d(frame.f.begin(), frame.f.end());
      Run(ReferenceKernels(), op, d.data(), {0, kHeads});
      Run(table(), op, frame.f, {0, kHeads});
      for (uint32_t i = 0; i < kN; ++i) {
        double mean = 0, var = 0;
        for (uint32_t k = 0; k < kDim; ++k) mean += double{frame.f[h + i / kDim * kDim + k]} / kDim;
        for (uint32_t k = 0; k < kDim; ++k) {
          var += std::pow(frame.f[h + i / kDim * kDim + k] - mean, 2) / kDim;
        }
        double v = (frame.f[h + i] - mean) / std::sqrt(var + double{1e-3f});
        v = skip ? v * (1.0 + w[i]) + double{s[i]} * frame.f[c + i] : v * w[i] + b[i];
        v /= 1 + std::exp(-double{frame.f[z + i]});
        if (!sigmoid) v *= frame.f[z + i];
        ASSERT_NEAR(d[y + i], v, 1e-12);
        ASSERT_NEAR(frame.f[y + i], v, 1e-5);
      }
    }
  }
}

// The gate is off for z far below 0 and z itself far above.
TEST_P(MlstmOutTest, FarGates) {
  const std::vector<float> w(4, 0), skip(4, 0);
  Frame frame;
  const Slot h = frame.AddInput({1, -1, -1, 1}), c = frame.AddInput({0, 0, 0, 0});
  const Slot z = frame.AddInput({-1000, -80, 80, 1000}), y = frame.AddOutput(4);
  frame.Check(MlstmOut{w.data(), nullptr, skip.data(), 1, false, 1, 4, 1e-5f, h, c, z, y}, table(),
              1e-6);
  EXPECT_EQ(frame.f[y], 0);
  EXPECT_NEAR(frame.f[y + 2], -80, 1e-3);
}

TEST_P(MlstmOutTest, OneValue) {
  const float w[2] = {0.5f, 0.5f}, skip[2] = {2, -1};
  Frame frame;
  const Slot h = frame.AddInput({0.3f, -0.7f}), c = frame.AddInput({3, 5});
  const Slot z = frame.AddInput({0, 1}), y = frame.AddOutput(2);
  // Heads of one value: the norm is 0 and the skip remains.
  frame.Check(MlstmOut{w, nullptr, skip, 1, false, 2, 1, 1e-5f, h, c, z, y}, table(), 1e-6);
  EXPECT_EQ(frame.f[y], 0);
  EXPECT_NEAR(frame.f[y + 1], -5 / (1 + std::exp(-1.0)), 1e-6);
}

}  // namespace
}  // namespace xst::kernels
