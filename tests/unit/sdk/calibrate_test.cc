// Rounding with a recording: what it promises of a row, and that a pack uses it everywhere.
#include "sdk/calibrate.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <random>

#include "formats/config_yaml.h"
#include "sdk/model_core.h"
#include "sdk/probe.h"
#include "sdk/row_rounder.h"
#include "tests/unit/formats/support.h"

namespace xst {
namespace {

using formats::DType;

constexpr float kScale = 0.01f;

std::vector<float> RandomRow(uint32_t n, uint32_t seed) {
  std::mt19937 bits(seed);
  std::uniform_real_distribution<float> value(-126 * kScale, 126 * kScale);
  std::vector<float> row(n);
  for (float& w : row) w = value(bits);
  return row;
}

std::vector<float> Nearest(std::vector<float> row) {
  for (float& w : row) w = static_cast<float>(std::nearbyint(double{w} / kScale)) * kScale;
  return row;
}

// Moments of `count` inputs of which `rank` random directions make up nearly all.
std::vector<double> Moments(uint32_t n, uint32_t rank, uint32_t count, uint32_t seed) {
  std::mt19937 bits(seed);
  std::normal_distribution<double> normal;
  std::vector<double> directions(size_t{n} * rank), moments(size_t{n} * n), x(n);
  for (double& d : directions) d = normal(bits);
  for (uint32_t t = 0; t < count; ++t) {
    for (double& v : x) v = 0.01 * normal(bits);
    for (uint32_t k = 0; k < rank; ++k) {
      const double a = normal(bits);
      for (uint32_t i = 0; i < n; ++i) x[i] += a * directions[size_t{k} * n + i];
    }
    for (uint32_t i = 0; i < n; ++i) {
      for (uint32_t j = 0; j <= i; ++j) moments[size_t{i} * n + j] += x[i] * x[j];
    }
  }
  return moments;
}

double ProductError(const std::vector<double>& moments, const std::vector<float>& row,
                    const std::vector<float>& rounded) {
  const size_t n = row.size();
  double error = 0;
  for (size_t i = 0; i < n; ++i) {
    for (size_t j = 0; j < n; ++j) {
      error += (double{row[i]} - rounded[i]) * (double{row[j]} - rounded[j]) *
               moments[std::max(i, j) * n + std::min(i, j)];
    }
  }
  return error;
}

TEST(RowRounder, IsRoundingToTheNearestWhereInputsAreIndependent) {
  for (const double of : {0.0, 1.0}) {  // nothing recorded; every input alike
    const uint32_t n = 19;
    std::vector<double> moments(n * n);
    for (uint32_t i = 0; i < n; ++i) moments[i * n + i] = of;
    RowRounder rounder(moments, n);
    std::vector<float> row = RandomRow(n, 3);
    const std::vector<float> nearest = Nearest(row);
    rounder.Round(row, kScale);
    EXPECT_EQ(row, nearest);
  }
}

TEST(RowRounder, ProductsOfRelatedInputsChangeMuchLess) {
  for (const uint32_t n : {16u, 33u, 128u}) {
    const std::vector<double> moments = Moments(n, 3, 500, n);
    RowRounder rounder(moments, n);
    double nearest = 0, chosen = 0;
    for (uint32_t seed = 0; seed < 20; ++seed) {
      const std::vector<float> row = RandomRow(n, seed);
      std::vector<float> rounded = row;
      rounder.Round(rounded, kScale);
      for (uint32_t i = 0; i < n; ++i) {
        const float q = std::nearbyint(rounded[i] / kScale);
        ASSERT_LE(std::abs(q), 127);
        ASSERT_EQ(rounded[i], q * kScale);
      }
      nearest += ProductError(moments, row, Nearest(row));
      chosen += ProductError(moments, row, rounded);
    }
    EXPECT_LT(chosen, 0.3 * nearest) << n;
  }
}

TEST(RowRounder, LeavesARowOfZeros) {
  RowRounder rounder(Moments(16, 2, 10, 1), 16);
  std::vector<float> row(16);
  rounder.Round(row, 0);
  EXPECT_EQ(row, std::vector<float>(16));
}

constexpr char kStack[] =
    "mlstm_block: {mlstm: {num_heads: 2, qkv_proj_blocksize: 16}}\n"
    "slstm_block: {slstm: {num_heads: 2}}\n"
    "embedding_dim: 32\nnum_blocks: 3\nslstm_at: [1]\n";
constexpr char kTied[] =
    "mlstm_block: {mlstm: {num_heads: 2}}\nembedding_dim: 32\nvocab_size: 20\ntie_weights: true\n";

class Calibrated : public testing::Test {
 protected:
  void Source(const std::string& yaml) {
    const formats::ModelConfig config = formats::ParseConfig(yaml, "c.yaml", nullptr);
    formats::WriteSafetensors(folder_ / "weights.safetensors",
                              formats::test::RandomCheckpoint(config, 7));
    formats::test::WriteText(folder_ / "config.yaml", yaml);
  }
  std::shared_ptr<const Model> Pack(const formats::Array* recording) {
    formats::PackOptions options;
    options.dtype = DType::i8;
    std::unique_ptr<Calibration> calibration;
    const std::string path = folder_ / (recording ? "calibrated.xst" : "nearest.xst");
    if (recording) {
      calibration = std::make_unique<Calibration>(folder_.path(), path, options, *recording);
      options.rounder = calibration.get();
    }
    PackWithProbe(folder_.path(), path, options, nullptr);
    return Model::open(path);
  }

  formats::test::ScratchFolder folder_;
};

TEST_F(Calibrated, EveryRoundedMatrixIsRoundedByItsInputs) {
  Source(kStack);
  std::mt19937 bits(2);
  std::normal_distribution<float> normal;
  formats::Array recording{{300, 32}, {}, {}, true};
  for (int t = 0; t < 300; ++t) {  // two signals in 32 channels
    const float a = normal(bits), b = normal(bits);
    for (float i = 0; i < 32; ++i) {
      recording.f32.push_back(a * std::sin(0.3f * i) + b * std::cos(0.2f * i));
    }
  }
  const auto nearest = Pack(nullptr), calibrated = Pack(&recording);
  EXPECT_TRUE(calibrated->verify().pass());
  EXPECT_EQ(folder_.files(), 4u);  // no scratch file is left
  const auto& a = nearest->core().directory.tensors;
  const auto& b = calibrated->core().directory.tensors;
  size_t rounded = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    SCOPED_TRACE(a[i].spec.name);
    ASSERT_EQ(a[i].length, b[i].length);
    const bool same = std::memcmp(a[i].data, b[i].data, a[i].length) == 0;
    EXPECT_EQ(same, !a[i].spec.rounded);
    if (!a[i].spec.rounded) continue;
    ++rounded;
    EXPECT_EQ(std::memcmp(a[i].scale, b[i].scale, a[i].scale_length), 0);
  }
  EXPECT_GE(rounded, 14u);  // up, q, k, v, gates, down of two blocks; w, r, up, down of one
  EXPECT_EQ(nearest->info().source_hash, calibrated->info().source_hash);
}

TEST_F(Calibrated, AnEmbeddingThatIsLookedUpIsRoundedToTheNearest) {
  Source(kTied);
  formats::Array recording{{40}, {}, {}, false};
  for (int64_t t = 0; t < 40; ++t) recording.i64.push_back(t * 7 % 20);
  const auto nearest = Pack(nullptr), calibrated = Pack(&recording);
  const auto& a = nearest->core().directory.tensors;
  const auto& b = calibrated->core().directory.tensors;
  for (size_t i = 0; i < a.size(); ++i) {
    const bool same = std::memcmp(a[i].data, b[i].data, a[i].length) == 0;
    EXPECT_EQ(same, !a[i].spec.rounded || a[i].spec.name == "embedding") << a[i].spec.name;
  }
}

}  // namespace
}  // namespace xst
