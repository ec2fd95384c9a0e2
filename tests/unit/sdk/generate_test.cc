// The choice of a token against distributions worked out by hand and a plain sort.
#include "sdk/generate.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <set>

#include "tests/support/vectors.h"

namespace xst {
namespace {

constexpr int kDraws = 20000;
constexpr double kNear = 0.02;  // 5 standard deviations and more; the seed is fixed anyway

std::vector<float> Logs(const std::vector<double>& weights) {
  std::vector<float> logits;
  for (double w : weights) logits.push_back(static_cast<float>(std::log(w)));
  return logits;
}

std::vector<double> Frequencies(const std::vector<float>& logits, const SamplerOptions& options) {
  Sampler sampler(static_cast<uint32_t>(logits.size()), options);
  std::vector<double> f(logits.size());
  for (int i = 0; i < kDraws; ++i) {
    uint32_t token = 0;
    EXPECT_EQ(sampler.Next(logits, &token), Status::ok);
    f.at(token) += 1.0 / kDraws;
  }
  return f;
}

// An expected 0 means never.
void ExpectFrequencies(const std::vector<double>& weights, const SamplerOptions& options,
                       const std::vector<double>& want) {
  const auto got = Frequencies(Logs(weights), options);
  ASSERT_EQ(got.size(), want.size());
  for (size_t i = 0; i < want.size(); ++i) {
    EXPECT_NEAR(got[i], want[i], want[i] == 0 ? 0 : kNear) << i;
  }
}

uint32_t One(Sampler& sampler, const std::vector<float>& logits) {
  uint32_t token = 0;
  EXPECT_EQ(sampler.Next(logits, &token), Status::ok);
  return token;
}

TEST(Sampler, GreedyIsTheFirstOfTheLargest) {
  Sampler sampler(5, {});
  EXPECT_EQ(One(sampler, {0, 3, -1, 3, 2}), 1u);
  EXPECT_EQ(One(sampler, {-7, -7, -7, -7, -7}), 0u);
  EXPECT_EQ(One(sampler, {0, 1, 2, 3, 4}), 4u);
}

TEST(Sampler, DrawsInProportion) {
  ExpectFrequencies({1, 2, 3, 4}, {.temperature = 1}, {0.1, 0.2, 0.3, 0.4});
  ExpectFrequencies({1, 2, 3, 4}, {.temperature = 0.5}, {1 / 30., 4 / 30., 9 / 30., 16 / 30.});
  ExpectFrequencies({4, 0.25}, {.temperature = 2}, {0.8, 0.2});
}

TEST(Sampler, TopKKeepsTheLikeliestAndTies) {
  ExpectFrequencies({1, 4, 2, 3}, {.temperature = 1, .top_k = 2}, {0, 4 / 7., 0, 3 / 7.});
  ExpectFrequencies({1, 4, 3, 3}, {.temperature = 1, .top_k = 2}, {0, 0.4, 0.3, 0.3});
  ExpectFrequencies({1, 4, 2, 3}, {.temperature = 1, .top_k = 1}, {0, 1, 0, 0});
  ExpectFrequencies({1, 4, 2, 3}, {.temperature = 1, .top_k = 9}, {0.1, 0.4, 0.2, 0.3});
}

TEST(Sampler, TopPKeepsTheFewestThatReachIt) {
  ExpectFrequencies({1, 4, 2, 3}, {.temperature = 1, .top_p = 0.5}, {0, 4 / 7., 0, 3 / 7.});
  ExpectFrequencies({1, 4, 2, 3}, {.temperature = 1, .top_p = 0.39}, {0, 1, 0, 0});
  ExpectFrequencies({1, 4, 2, 3}, {.temperature = 1, .top_p = 0}, {0, 1, 0, 0});
  // Quarters are exact: three of them reach three quarters.
  ExpectFrequencies({1, 1, 1, 1}, {.temperature = 1, .top_p = 0.75}, {1 / 3., 1 / 3., 1 / 3., 0});
}

TEST(Sampler, TemperatureThenTopKThenTopP) {
  // 16, 9, 4, 1 of 30: the first alone has reached 0.5; at temperature 1 it had only 0.4.
  ExpectFrequencies({4, 3, 2, 1}, {.temperature = 0.5, .top_p = 0.5}, {1, 0, 0, 0});
  // 4/7 of the two that top_k leaves.
  ExpectFrequencies({4, 3, 2, 1}, {.temperature = 1, .top_k = 2, .top_p = 0.5}, {1, 0, 0, 0});
}

// Hugging Face's warpers, spelt out.
struct Plain {
  std::set<uint32_t> kept;
  std::vector<double> probability;
};
Plain PlainKept(const std::vector<float>& logits, const SamplerOptions& options) {
  std::vector<uint32_t> order(logits.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(),
                   [&](uint32_t a, uint32_t b) { return logits[a] > logits[b]; });
  if (options.top_k > 0 && options.top_k < order.size()) {
    const float least = logits[order[options.top_k - 1]];
    std::erase_if(order, [&](uint32_t i) { return logits[i] < least; });
  }
  Plain plain{{}, std::vector<double>(logits.size())};
  double total = 0;
  for (uint32_t i : order) total += std::exp(logits[i] / options.temperature);
  double before = 0;
  for (uint32_t i : order) {
    if (before >= options.top_p && !plain.kept.empty()) break;
    plain.kept.insert(i);
    plain.probability[i] = std::exp(logits[i] / options.temperature) / total;
    before += plain.probability[i];
  }
  for (double& p : plain.probability) p /= before;
  return plain;
}

TEST(Sampler, DrawsOnlyAndAllOfWhatASortKeeps) {
  constexpr uint32_t kVocabulary = 100;
  std::mt19937 bits(3);
  std::vector<float> logits(kVocabulary);
  for (float& v : logits) v = static_cast<float>(bits() % 32) / 16;  // with many ties
  for (const SamplerOptions& options :
       std::vector<SamplerOptions>{{.temperature = 0.7, .seed = 1},
                                   {.temperature = 0.5, .top_k = 40, .seed = 2},
                                   {.temperature = 0.6, .top_p = 0.3, .seed = 3},
                                   {.temperature = 0.9, .top_k = 100, .top_p = 0.5, .seed = 4}}) {
    const Plain plain = PlainKept(logits, options);
    const auto got = Frequencies(logits, options);
    for (uint32_t i = 0; i < kVocabulary; ++i) {
      EXPECT_EQ(got[i] > 0, plain.kept.contains(i)) << i;
      EXPECT_NEAR(got[i], plain.probability[i], kNear) << i;
    }
  }
}

TEST(Sampler, IsTheSameEverywhereForASeed) {
  // By the standard's engine and one comparison a draw: nothing a library may choose.
  const std::vector<float> logits = Logs({1, 2, 3, 4});
  Sampler sampler(4, {.temperature = 1, .seed = 42});
  std::mt19937_64 random(42);
  for (int i = 0; i < 1000; ++i) {
    const double u = 10 * static_cast<double>(random() >> 11) / 9007199254740992.0;
    EXPECT_EQ(One(sampler, logits), u < 1 ? 0u : u < 3 ? 1u : u < 6 ? 2u : 3u) << i;
  }
  Sampler other(4, {.temperature = 1, .seed = 43});
  Sampler same(4, {.temperature = 1, .seed = 42}), again(4, {.temperature = 1, .seed = 42});
  int differ = 0;
  for (int i = 0; i < 100; ++i) {
    const uint32_t token = One(same, logits);
    EXPECT_EQ(token, One(again, logits));
    differ += token != One(other, logits);
  }
  EXPECT_GT(differ, 0);
}

TEST(Sampler, BearsExtremes) {
  const float big = std::numeric_limits<float>::max();
  for (const double temperature : {1e-300, 1e-3, 1.0}) {
    Sampler sampler(3, {.temperature = temperature, .top_k = 2, .top_p = 0.9});
    for (int i = 0; i < 10; ++i) EXPECT_EQ(One(sampler, {-big, big, -big}), 1u);
  }
  ExpectFrequencies({1, 1e30}, {.temperature = 1e300}, {0.5, 0.5});
  Sampler one(1, {.temperature = 1, .top_k = 1, .top_p = 0});
  EXPECT_EQ(One(one, {0}), 0u);
}

TEST(Sampler, RefusesWhatIsNoDistributionAndDrawsNothing) {
  const std::vector<float> good = {0, 1, 2};
  const float inf = std::numeric_limits<float>::infinity();
  Sampler sampler(3, {.temperature = 1}), untouched(3, {.temperature = 1}), greedy(3, {});
  for (const float bad : {inf, -inf, std::numeric_limits<float>::quiet_NaN()}) {
    uint32_t token = 77;
    for (Sampler* s : {&sampler, &greedy}) {
      EXPECT_EQ(s->Next(std::vector<float>{0, bad, 1}, &token), Status::invalid_argument);
      EXPECT_EQ(s->Next(std::vector<float>{0, 1}, &token), Status::shape_mismatch);
    }
    EXPECT_EQ(token, 77u);
  }
  for (int i = 0; i < 100; ++i) EXPECT_EQ(One(sampler, good), One(untouched, good));
}

TEST(Sampler, RefusesOptionsOutsideTheirRange) {
  const double nan = std::nan(""), inf = std::numeric_limits<double>::infinity();
  for (const double t : {-1.0, nan, inf}) EXPECT_THROW(Sampler(3, {.temperature = t}), Error) << t;
  for (const double p : {-0.1, 1.1, nan}) {
    EXPECT_THROW(Sampler(3, {.temperature = 1, .top_p = p}), Error) << p;
  }
}

TEST(Prefill, TheLastRowAloneIsTheLastRow) {
  const auto model = test::OpenCase("block_stack/lm_tied");
  const uint32_t width = model->info().output_width;
  const std::vector<int64_t> prompt = {3, 1, 4, 1, 5};
  Session whole(model), last(model);
  std::vector<float> all(prompt.size() * width), one(width);
  ASSERT_EQ(whole.forward(prompt, all), Status::ok);
  ASSERT_EQ(last.forward(prompt, one), Status::ok);
  EXPECT_TRUE(std::equal(one.begin(), one.end(), all.end() - width));
  EXPECT_EQ(last.save(), whole.save());
  EXPECT_EQ(last.forward(std::span<const int64_t>(), one), Status::shape_mismatch);
  const std::vector<int64_t> bad = {3, static_cast<int64_t>(width)};
  EXPECT_EQ(last.forward(bad, one), Status::invalid_argument);
  EXPECT_EQ(last.save(), whole.save());
}

}  // namespace
}  // namespace xst
