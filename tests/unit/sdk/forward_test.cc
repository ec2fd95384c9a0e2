// Session::forward on the CPU beside steps and the reference.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>

#include "sdk/probe.h"
#include "sdk/session.h"
#include "tests/support/vectors.h"

namespace xst {
namespace {

using test::Case;

constexpr char kReadme[] = "block_stack/readme_config";
constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

std::vector<float> Normal(size_t n, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> v(n);
  for (float& x : v) x = normal(random);
  return v;
}

std::span<const float> Rows(const Session& s, const std::vector<float>& in, size_t first,
                            size_t n) {
  const size_t width = s.model()->info().input_width;
  return std::span(in).subspan(first * width, n * width);
}

// The outputs of steps, and their statuses' worst.
std::vector<float> Step(Session& s, const std::vector<float>& in, size_t steps, Status* status) {
  const size_t width = s.model()->info().output_width;
  std::vector<float> out(steps * width);
  *status = Status::ok;
  for (size_t t = 0; t < steps; ++t) {
    const Status one = s.step(Rows(s, in, t, 1), std::span(out).subspan(t * width, width));
    if (one != Status::ok) *status = one;
  }
  return out;
}

// The root mean square of got - want from element `begin` on: the largest difference is that of the
// one head whose denominator is nearest 0, where any two orders of summing are apart.
double Error(const std::vector<float>& got, const std::vector<float>& want, size_t begin = 0) {
  double sum = 0;
  for (size_t i = begin; i < got.size(); ++i) {
    sum += std::pow(double{got[i]} - double{want[i]}, 2);
  }
  return std::sqrt(sum / static_cast<double>(got.size() - begin));
}

class EveryCaseForward : public testing::TestWithParam<std::string> {};

TEST_P(EveryCaseForward, IsWithinToleranceInSingleArithmetic) {
  const Case c = test::LoadCase(GetParam());
  // As steps in single arithmetic are.
  const double factor = c.name == "stream/forecaster" ? 10 : 1;
  for (const std::string& isa : AvailableIsas()) {
    const auto model = test::OpenCase(c.name, isa, "cpu", Arithmetic::single);
    for (uint64_t b = 0; b < c.columns; ++b) {
      Session whole(model), stepped(model);
      EXPECT_LE(test::ColumnError(c, b, test::ForwardColumn(whole, c, b), c.expected),
                factor * c.ForwardTolerance())
          << isa << " column " << b;
      test::StepColumn(stepped, c, b, 0, c.steps);
      EXPECT_EQ(whole.steps(), c.steps);
      EXPECT_EQ(whole.quality(), stepped.quality());
      // The state is that of steps: what follows agrees.
      const auto after = test::StepColumn(whole, c, b, 0, 3);
      const auto want = test::StepColumn(stepped, c, b, 0, 3);
      EXPECT_LE(LargestDifference(after, want), 2 * factor * c.ForwardTolerance()) << isa;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Vectors, EveryCaseForward, testing::ValuesIn(test::CaseNames()),
                         [](const auto& param) {
                           std::string name = param.param;
                           for (char& ch : name) ch = ch == '/' ? '_' : ch;
                           return name;
                         });

TEST(Forward, TakesInputsOfAnyLength) {
  const auto model = test::OpenCase(kReadme);
  const size_t width = model->info().output_width;
  const std::vector<size_t> lengths = {0, 1, 2, 3, 4, 5, 31, 32, 33, 64, 65, 0, 1, 70};
  size_t total = 0;
  for (const size_t n : lengths) total += n;
  const auto in = Normal(total * model->info().input_width, 1);
  Session stepped(model), whole(model), exact(test::OpenCase(kReadme, "", "reference"));
  Status status;
  const auto want = Step(exact, in, total, &status);
  const auto steps = Step(stepped, in, total, &status);
  std::vector<float> got(total * width);
  size_t first = 0;
  for (const size_t n : lengths) {
    EXPECT_EQ(
        whole.forward(Rows(whole, in, first, n), std::span(got).subspan(first * width, n * width)),
        Status::ok);
    first += n;
    EXPECT_EQ(whole.steps(), first);
  }
  // Not beside steps, which are as far from what is exact.
  EXPECT_LE(Error(got, want), 2 * Error(steps, want));
}

// What is held, and what a wrapper replaces, is the same as in steps; the outputs are those of a
// forward over inputs in which the values that replace missing ones stand themselves.
TEST(Forward, HoldsMissingInputsAsStepsDo) {
  for (const char* name : {kReadme, "stream/forecaster", "stream/classifier"}) {
    const auto model = test::OpenCase(name, "", "cpu", Arithmetic::single);
    const auto& wrapper = model->info().config.stream;
    constexpr size_t kSteps = 45;
    const size_t width = model->info().input_width, all = kSteps * width;
    auto in = Normal(all + width, 2);
    for (size_t i = 0; i < all; i += 7) in[i] = i % 2 ? kNaN : INFINITY;
    std::fill(in.begin() + static_cast<ptrdiff_t>(all), in.end(), kNaN);
    for (const float last : {0.5f, kNaN}) {
      in[all - 1] = last;
      std::vector<float> filled = in;
      for (size_t i = 0; i < filled.size(); ++i) {
        if (std::isfinite(in[i])) continue;
        const auto* input = wrapper ? &wrapper->inputs[i % width] : nullptr;
        const bool hold = i >= width && (!input || input->missing == formats::Missing::hold);
        filled[i] = hold ? filled[i - width] : input ? static_cast<float>(input->mean) : 0;
      }
      Session stepped(model), whole(model), plain(model);
      Status status;
      const auto steps = Step(stepped, in, kSteps, &status);
      std::vector<float> got(steps.size()), want(steps.size());
      EXPECT_EQ(status, Status::held);
      EXPECT_EQ(whole.forward(std::span<const float>(in).first(all), got), Status::held);
      EXPECT_EQ(plain.forward(std::span<const float>(filled).first(all), want), Status::ok);
      EXPECT_EQ(whole.quality(), stepped.quality());
      for (size_t i = 0; i < got.size(); ++i) {
        ASSERT_EQ(std::isnan(got[i]), std::isnan(steps[i])) << name << " " << i;
        if (std::isnan(got[i])) continue;
        ASSERT_NEAR(got[i], want[i], 1e-5 * std::max(1.0f, std::abs(want[i])))
            << name << " " << i;  // a mean is a double
      }
      // Afterwards the same values are held.
      std::vector<float> x(model->info().output_width), y(x.size());
      EXPECT_EQ(whole.step(Rows(whole, in, kSteps, 1), x), Status::held);
      EXPECT_EQ(plain.step(Rows(plain, filled, kSteps, 1), y), Status::ok);
      for (size_t i = 0; i < x.size(); ++i) {
        if (std::isnan(x[i])) continue;
        ASSERT_NEAR(x[i], y[i], 1e-5 * std::max(1.0f, std::abs(y[i]))) << name << " " << i;
      }
    }
  }
}

TEST(Forward, OfTokensMayGiveTheLastRowAlone) {
  for (const char* name :
       {"block_stack/lm_untied", "block_stack/lm_slstm_only", "large/05_long_batch_eps"}) {
    const auto model = test::OpenCase(name, "", "cpu", Arithmetic::single);
    const size_t width = model->info().output_width;
    for (const size_t steps : {1, 3, 4, 32, 40, 64}) {
      std::vector<int64_t> tokens(steps);
      for (size_t t = 0; t < steps; ++t) {
        tokens[t] = static_cast<int64_t>(t * 7 % formats::VocabSize(model->info().config));
      }
      Session all(model), last(model);
      std::vector<float> rows(steps * width), row(width);
      EXPECT_EQ(all.forward(tokens, rows), Status::ok);
      EXPECT_EQ(last.forward(tokens, row), Status::ok);
      EXPECT_TRUE(std::equal(row.begin(), row.end(), rows.end() - static_cast<long>(width)))
          << name << " " << steps;
      EXPECT_EQ(all.save(), last.save());
    }
  }
}

// A long input costs no digits that steps keep.
TEST(Forward, IsAsAccurateAsStepsOverALongInput) {
#ifdef XST_EMULATED
  constexpr size_t kSteps = 300;
#else
  constexpr size_t kSteps = 3000;
#endif
  const auto model = test::OpenCase(kReadme);
  ASSERT_EQ(model->info().arithmetic, "single");
  const auto in = Normal(kSteps * model->info().input_width, 3);
  Session stepped(model), whole(model), exact(test::OpenCase(kReadme, "", "reference"));
  Status status;
  const auto want = Step(exact, in, kSteps, &status);
  const auto steps = Step(stepped, in, kSteps, &status);
  std::vector<float> forward(steps.size());
  ASSERT_EQ(whole.forward(std::span<const float>(in), forward), Status::ok);
  std::printf("%zu steps: step off by %.3g (largest %.3g), forward by %.3g (%.3g)\n", kSteps,
              Error(steps, want), LargestDifference(steps, want), Error(forward, want),
              LargestDifference(forward, want));
  EXPECT_LE(Error(forward, want), 2 * Error(steps, want));
  // Nor has it drifted: the last hundred are no worse.
  EXPECT_LE(Error(forward, want, forward.size() - 100 * model->info().output_width),
            2 * Error(steps, want));
}

}  // namespace
}  // namespace xst
