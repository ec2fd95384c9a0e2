#include "sdk/stream/histogram.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <vector>

namespace xst::stream {
namespace {

TEST(Histogram, EmptyIsZero) {
  const Histogram h;
  EXPECT_EQ(h.count(), 0u);
  EXPECT_EQ(h.Quantile(0.5), 0);
  EXPECT_EQ(h.max_ns(), 0u);
}

TEST(Histogram, SmallValuesAreExact) {
  Histogram h;
  for (int i = 0; i < 32; ++i) h.Record(i);
  EXPECT_EQ(h.Quantile(0), 0);
  EXPECT_EQ(h.Quantile(0.5), 15);
  EXPECT_EQ(h.Quantile(1), 31);
}

TEST(Histogram, QuantilesAreWithinTheirBucket) {
  Histogram h;
  std::mt19937 random(1);
  std::lognormal_distribution<double> draw(9, 2);
  std::vector<double> all;
  for (int i = 0; i < 20000; ++i) {
    all.push_back(std::floor(draw(random)));
    h.Record(static_cast<int64_t>(all.back()));
  }
  std::sort(all.begin(), all.end());
  for (const double q : {0.0, 0.01, 0.5, 0.9, 0.99, 0.999}) {
    const double exact = all[static_cast<size_t>(q * static_cast<double>(all.size() - 1))];
    EXPECT_NEAR(h.Quantile(q), exact, exact / 32 + 0.5) << q;
  }
  EXPECT_EQ(static_cast<double>(h.max_ns()), all.back());
  EXPECT_EQ(h.count(), all.size());
}

TEST(Histogram, ExtremesStayInRange) {
  Histogram h;
  h.Record(-5);
  h.Record(INT64_MAX);
  EXPECT_EQ(h.Quantile(0), 0);
  EXPECT_EQ(h.max_ns(), static_cast<uint64_t>(INT64_MAX));
  EXPECT_LE(h.Quantile(1), static_cast<double>(INT64_MAX));
}

}  // namespace
}  // namespace xst::stream
