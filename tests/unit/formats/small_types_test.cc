#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>

#include "formats/config_yaml.h"
#include "formats/pack.h"
#include "formats/segment.h"
#include "tests/unit/formats/support.h"

namespace xst::formats {
namespace {

constexpr char kYaml[] =
    "mlstm_block: {mlstm: {num_heads: 2, qkv_proj_blocksize: 32}}\n"
    "slstm_block: {slstm: {num_heads: 1}}\n"
    "embedding_dim: 19\nnum_blocks: 2\nslstm_at: [1]\n";

// Largest rounding error that a type may make in a row of this largest magnitude.
double Bound(DType dtype, double value, double largest) {
  switch (dtype) {
    case DType::f32:
      return 0;
    case DType::bf16:
      return std::fabs(value) * 0x1p-8;
    case DType::i16:
      return largest / 32767 * (0.5 + 1e-3);
    case DType::i8:
      return largest / 127 * (0.5 + 1e-3);
  }
  return 0;
}

// The unpacked value of each element is within half a unit of its row's type; the tensors that are
// not rounded are exact.
TEST(SmallTypes, ErrorsStayWithinHalfAUnit) {
  const test::ScratchFolder folder;
  const ModelConfig config = ParseConfig(kYaml, "c", nullptr);
  const auto tensors = test::RandomCheckpoint(config, 5);
  WriteSafetensors(folder / "weights.safetensors", tensors);
  test::WriteText(folder / "config.yaml", kYaml);
  for (DType dtype : {DType::f32, DType::i16, DType::bf16, DType::i8}) {
    PackOptions options;
    options.dtype = dtype;
    PackModel(folder.path(), folder / "m.xst", options);
    UnpackModel(folder / "m.xst", folder / "u.safetensors");
    const Safetensors stored(folder / "u.safetensors");
    size_t inexact = 0, index = 0;
    for (const TensorSpec& spec : Manifest(config)) {
      for (const Source& source : spec.sources) {
        const NamedTensor& t = tensors[index++];
        const auto got = stored.read(*stored.find(source.name));
        ASSERT_EQ(got.size(), t.values.size());
        // Rows of an official matrix are rows of ours, in another order.
        const uint64_t cols = spec.rounded ? spec.cols : got.size();
        for (size_t i = 0; i < got.size(); ++i) {
          double largest = 0;
          for (size_t j = i / cols * cols; j < i / cols * cols + cols; ++j) {
            largest = std::max(largest, std::fabs(double{t.values[j]}));
          }
          const double error = std::fabs(double{got[i]} - double{t.values[i]});
          ASSERT_LE(error, spec.rounded ? Bound(dtype, t.values[i], largest) : 0) << source.name;
          inexact += error > 0;
        }
      }
    }
    EXPECT_EQ(inexact > 0, dtype != DType::f32);
  }
}

TEST(SmallTypes, Bf16RoundsHalfToEven) {
  const auto round = [](uint32_t bits) { return RoundToBf16(std::bit_cast<float>(bits)); };
  EXPECT_EQ(round(0x3F800000), 0x3F80);
  EXPECT_EQ(round(0x3F808000), 0x3F80);  // tie, even below
  EXPECT_EQ(round(0x3F818000), 0x3F82);  // tie, even above
  EXPECT_EQ(round(0x3F808001), 0x3F81);
  EXPECT_EQ(round(0xBF817FFF), 0xBF81);
  EXPECT_EQ(round(0x7F7F8000), 0x7F80);  // beyond the largest
}

TEST(SmallTypes, QuantaRoundHalfToEvenAndZeroRowsStayZero) {
  const TensorSpec spec{"t", 16, 4, Layout::panel, true, {}};
  std::vector<float> matrix(16 * 4, 0.0f);
  const float row[] = {127, 0.5f, 1.5f, -2.5f};  // scale 1
  std::copy(row, row + 4, matrix.begin() + 4);
  std::vector<float> scales;
  for (size_t r = 0; r < 16; ++r) scales.push_back(RowScale({&matrix[r * 4], 4}, DType::i8));
  EXPECT_EQ(scales[0], 0);
  EXPECT_EQ(scales[1], 1);
  std::vector<std::byte> out(TensorBytes(spec, DType::i8));
  ASSERT_EQ(out.size(), 64u);
  EncodeRows(spec, DType::i8, matrix, 0, 16, scales, out.data());
  const auto* q = reinterpret_cast<const int8_t*>(out.data());
  const int8_t expected[] = {127, 0, 2, -2};
  for (int c = 0; c < 4; ++c) {
    EXPECT_EQ(q[1 * 4 + c], expected[c]);  // [k / 4][16][4]
    EXPECT_EQ(q[c], 0);
  }
}

TEST(SmallTypes, PanelsInterleaveFourBytesOfARow) {
  const TensorSpec spec{"t", 40, 21, Layout::panel, true, {}};
  EXPECT_EQ(TensorBytes(spec, DType::f32), 48u * 21 * 4);
  EXPECT_EQ(TensorBytes(spec, DType::bf16), 48u * 22 * 2);
  EXPECT_EQ(TensorBytes(spec, DType::i8), 48u * 24);
  EXPECT_EQ(ElementIndex(spec, DType::f32, 17, 3), 16u * 21 + 3 * 16 + 1);
  EXPECT_EQ(ElementIndex(spec, DType::i16, 17, 3), 16u * 22 + 1 * 32 + 1 * 2 + 1);
  EXPECT_EQ(ElementIndex(spec, DType::i8, 17, 7), 16u * 24 + 1 * 64 + 1 * 4 + 3);
  const TensorSpec rows{"t", 3, 21, Layout::rows, true, {}};
  EXPECT_EQ(TensorBytes(rows, DType::i8), 3u * 64);
  EXPECT_EQ(TensorBytes(rows, DType::f32), 3u * 128);
}

TEST(SmallTypes, ExtremeRowsStayFinite) {
  const float largest = std::numeric_limits<float>::max();
  for (DType dtype : {DType::i16, DType::i8}) {
    const float row[] = {largest, -largest};
    const float scale = RowScale(row, dtype);
    EXPECT_TRUE(std::isfinite(scale * static_cast<float>(LargestQuantum(dtype))));
    const float tiny[] = {1e-45f};
    EXPECT_EQ(RowScale(tiny, dtype), 0);
  }
}

}  // namespace
}  // namespace xst::formats
