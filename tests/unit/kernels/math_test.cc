// The error bounds stated in kernels/cpu/math-inl.h, over a dense sweep of all floats and every
// float around the seams.
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

#include "kernels/kernels.h"
#include "tests/unit/kernels/math_table.h"

namespace xst::kernels {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kMin = std::numeric_limits<float>::min();
constexpr float kMax = std::numeric_limits<float>::max();
// Results below it may rest on a number below kMin that was flushed: NEON of 32-bit ARM flushes
// within a function too, so erf(x) = x + 0.128 x loses its second part for x up to 8 kMin.
#if defined(__arm__)
constexpr float kFlushed = 9 * kMin;
#else
constexpr float kFlushed = 0;
#endif

double LogSigmoidExact(double x) { return std::min(x, 0.0) - std::log1p(std::exp(-std::abs(x))); }
double SigmoidExact(double x) { return 1 / (1 + std::exp(-x)); }
double SiluExact(double x) { return x / (1 + std::exp(-x)); }

// |got - exact| in units in the last place of a float of the size of `exact`.
double UlpError(float got, double exact) {
  const double size = std::abs(exact);
  if (size < 2 * kMin && got == 0) return 0;
  if (size < kFlushed && std::abs(got - exact) < kMin) return 0;
  if (size < kMin) return std::abs(got) <= kMin ? 0 : kInf;
  if (size >= kMax) return std::abs(got) >= kMax && std::signbit(got) == (exact < 0) ? 0 : kInf;
  int exponent;
  std::frexp(size, &exponent);
  return std::abs(got - exact) / std::ldexp(1.0, exponent - 24);
}

struct Case {
  const MathTable* table;
  const char* function;
  ArrayFunction MathTable::*call;
  double (*exact)(double);
  float low, high;
  double ulp;
  std::vector<float> seams;
  const char* arithmetic = "single";
};

std::vector<Case> Cases() {
  std::vector<Case> cases;
  for (const MathTable* t : single::MathTables()) {
    if (!FindCpuKernels<float>(t->name)) continue;
    cases.push_back({t,
                     "Exp",
                     &MathTable::exp,
                     std::exp,
                     -kInf,
                     kInf,
                     1.25,
                     {-105, -103.97f, -87.33f, 0, 0.34657f, 88.72f, 90}});
    cases.push_back({t,
                     "Expm1NonPositive",
                     &MathTable::expm1_non_positive,
                     std::expm1,
                     -kInf,
                     0,
                     1.25,
                     {-30, -17.3f, -0.34657f}});
    cases.push_back({t, "Log1pUnit", &MathTable::log1p_unit, std::log1p, 0, 1, 2, {1}});
    cases.push_back({t,
                     "LogSigmoid",
                     &MathTable::log_sigmoid,
                     LogSigmoidExact,
                     -kInf,
                     kInf,
                     3,
                     {-88, -17, 0, 17, 87.3f}});
    cases.push_back(
        {t, "Sigmoid", &MathTable::sigmoid, SigmoidExact, -kInf, kInf, 2.5, {-88.7f, -17, 0, 17}});
    cases.push_back(
        {t, "Silu", &MathTable::silu, SiluExact, -88.7f, kInf, 2.5, {-88.7f, -17, 0, 17}});
    cases.push_back(
        {t, "Tanh", &MathTable::tanh, std::tanh, -kInf, kInf, 1.75, {-9, -0.55f, 0, 0.55f, 9, 45}});
    cases.push_back(
        {t, "Erf", &MathTable::erf, std::erf, -kInf, kInf, 1.5, {-4, -1, 0, 1, 3.92f, 4}});
  }
  // In double only the rounding of the result to float is left. Not every target has one in double.
  const std::vector<const MathTable*> wide = wide::MathTables();
  for (size_t i = 0, n = cases.size(); i < n; ++i) {
    Case c = cases[i];
    const auto same = std::find_if(wide.begin(), wide.end(), [&](const MathTable* t) {
      return std::strcmp(t->name, c.table->name) == 0;
    });
    if (same == wide.end()) continue;
    c.table = *same;
    c.arithmetic = "wide";
    c.ulp = 0.501;
    cases.push_back(c);
  }
  return cases;
}

class MathTest : public testing::TestWithParam<Case> {
 protected:
  // Largest error over xs.
  void Check(const std::vector<float>& xs) {
    const Case& c = GetParam();
    std::vector<float> ys(xs.size());
    (c.table->*c.call)(xs.data(), ys.data(), xs.size());
    for (size_t i = 0; i < xs.size(); ++i) {
      const double error = UlpError(ys[i], c.exact(xs[i]));
      if (!(error <= worst)) worst = error, worst_x = xs[i], worst_y = ys[i];
    }
  }
  double worst = 0;
  float worst_x = 0, worst_y = 0;
};
INSTANTIATE_TEST_SUITE_P(, MathTest, testing::ValuesIn(Cases()), [](const auto& i) {
  return std::string(i.param.function) + "_" + i.param.table->name + "_" + i.param.arithmetic;
});

TEST_P(MathTest, Ulp) {
  const Case& c = GetParam();
  // A prime step meets every exponent and mixed mantissas.
  constexpr uint64_t kStep = 1021;
  std::vector<float> xs;
  const auto add = [&](float x) {
    if (!(x >= c.low && x <= c.high)) return;
    xs.push_back(x);
    if (xs.size() == 4096) Check(xs), xs.clear();
  };
  for (uint64_t bits = 0; bits < uint64_t{1} << 32; bits += kStep) {
    add(std::bit_cast<float>(static_cast<uint32_t>(bits)));
  }
  // Where the functions bend, evenly in x.
  for (int i = -1600000; i <= 1600000; ++i) add(static_cast<float>(i) / 16384.0f);
  for (float seam : c.seams) {
    float up = seam, down = seam;
    for (int i = 0; i < 5000; ++i) {
      add(up), add(down);
      up = std::nextafter(up, kInf), down = std::nextafter(down, -kInf);
    }
  }
  for (float x : {c.low, c.high}) add(x);
  Check(xs);
  RecordProperty("ulp", std::to_string(worst));
  EXPECT_LE(worst, c.ulp) << c.function << "(" << worst_x << ") gave " << worst_y << ", expected "
                          << c.exact(worst_x);
}

TEST_P(MathTest, NanStaysNan) {
  const Case& c = GetParam();
  const std::vector<float> xs(19, std::numeric_limits<float>::quiet_NaN());
  std::vector<float> ys(19, 0);
  (c.table->*c.call)(xs.data(), ys.data(), xs.size());
  for (float y : ys) EXPECT_TRUE(std::isnan(y)) << y;
}

}  // namespace
}  // namespace xst::kernels
