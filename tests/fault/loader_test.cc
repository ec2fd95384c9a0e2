// A small model file, cut at every length and with every bit flipped, as it is and with all
// checksums right again: a clean error or a valid model, and a valid model steps.
#include <gtest/gtest.h>
#include <unistd.h>

#include <fstream>
#include <string_view>

#include "sdk/session.h"
#include "tests/fault/reseal.h"
#include "tests/fault/small_models.h"
#include "tests/unit/formats/support.h"

namespace xst {
namespace {

using formats::Check;
using formats::Directory;

// Opens and steps what ReadModel accepted: whatever the weights are, no wild access and an end.
void StepAccepted(std::span<const std::byte> file) {
  const auto model = Model::open(file);
  Session session(model);
  std::vector<float> out(model->info().output_width);
  for (int t = 0; t < 3; ++t) {
    if (model->info().tokens) {
      ASSERT_EQ(session.step(int64_t{t % 2}, out), Status::ok);
    } else {
      const std::vector<float> in(model->info().input_width, 0.5f * static_cast<float>(t));
      // `held`: with another mean or deviation the sample may not be finite when normalised.
      ASSERT_LE(session.step(in, out), Status::held);
    }
  }
}

// Whether the bytes are a model; every refusal has a status and a text.
bool Accepted(std::span<const std::byte> file, Check check, Directory* directory) {
  Fault fault;
  const Status s = ReadModel(file, check, directory, &fault);
  if (s == Status::ok) return true;
  EXPECT_EQ(s, fault.status);
  EXPECT_NE(fault.message[0], '\0');
  EXPECT_EQ(fault.message[sizeof fault.message - 1], '\0');
  return false;
}

struct Variant {
  const char* name;
  const char* yaml;
  formats::DType dtype;
};

class Loader : public testing::TestWithParam<Variant> {
 protected:
  Loader() : model_(test::SmallModel(GetParam().yaml, GetParam().dtype)) {}
  const std::string model_;
};

TEST_P(Loader, TheModelItselfIsValidAndSteps) {
  const formats::test::AlignedBytes file(model_);
  Directory directory;
  ASSERT_TRUE(Accepted(file.bytes(), Check::full, &directory));
  StepAccepted(file.bytes());
}

TEST_P(Loader, EveryTruncationIsRefused) {
  for (size_t n = 0; n < model_.size(); ++n) {
    const formats::test::AlignedBytes cut(model_.substr(0, n));
    Directory directory;
    EXPECT_FALSE(Accepted(cut.bytes(), Check::full, &directory)) << n;
    if (n < 64) continue;
    test::StoreU64(cut.bytes(), 8, n);
    test::Reseal(cut.bytes());
    EXPECT_FALSE(Accepted(cut.bytes(), Check::full, &directory)) << n << " resealed";
  }
  const formats::test::AlignedBytes longer(model_ + std::string(64, '\0'));
  Directory directory;
  EXPECT_FALSE(Accepted(longer.bytes(), Check::full, &directory));
  test::StoreU64(longer.bytes(), 8, longer.bytes().size());
  test::Reseal(longer.bytes());
  EXPECT_FALSE(Accepted(longer.bytes(), Check::full, &directory));
}

TEST_P(Loader, EveryBitFlipIsRefused) {
  const formats::test::AlignedBytes file(model_);
  for (size_t bit = 0; bit < model_.size() * 8; ++bit) {
    const std::byte mask = std::byte{1} << bit % 8;
    file.bytes()[bit / 8] ^= mask;
    Directory directory;
    EXPECT_FALSE(Accepted(file.bytes(), Check::full, &directory)) << bit;
    file.bytes()[bit / 8] ^= mask;
  }
}

TEST_P(Loader, OtherVersionsAreNamed) {
  const formats::test::AlignedBytes file(model_);
  const auto refusal = [&](uint16_t major, uint16_t minor) {
    const uint16_t version[] = {major, minor};
    std::memcpy(&file.bytes()[4], version, sizeof version);
    test::Reseal(file.bytes());
    Directory directory;
    Fault fault;
    EXPECT_EQ(ReadModel(file.bytes(), Check::full, &directory, &fault),
              Status::unsupported_version);
    return std::string(fault.message);
  };
  EXPECT_EQ(refusal(0, 1),
            "header: expected format 1.0, got 0.1, from before the first release: make it again");
  EXPECT_EQ(refusal(1, 1), "header: expected format 1.0, got 1.1, which a newer version reads");
  EXPECT_EQ(refusal(2, 0), "header: expected format 1.0, got 2.0, which a newer version reads");
}

// Behind right checksums a flip may give another valid model; those step.
TEST_P(Loader, EveryResealedBitFlipIsRefusedOrSteps) {
  const formats::test::AlignedBytes file(model_);
  const std::span<std::byte> bytes = file.bytes();
  Directory directory;
  ASSERT_TRUE(Accepted(bytes, Check::full, &directory));
  const uint64_t payload = test::LoadU64(bytes, 24);
  size_t accepted = 0, refused = 0, other_configs = 0;
  for (size_t bit = 0; bit < model_.size() * 8; ++bit) {
    bytes[bit / 8] ^= std::byte{1} << bit % 8;
    bool other_config = false;
    if (bit / 8 < payload) {
      other_config = test::ResealWithArchHash(bytes);
    } else {
      test::Reseal(bytes);
    }
    const bool valid = Accepted(bytes, Check::full, &directory);
    ++(valid ? accepted : refused);
    other_configs += valid && other_config;
    // Every other configuration steps; of what is just another weight or text, a part.
    if (valid && (other_config || bit % 29 == 0)) {
      SCOPED_TRACE(bit);
      StepAccepted(bytes);
    }
    std::memcpy(bytes.data(), model_.data(), bit / 8 < payload ? payload : 64);
    if (bit / 8 >= payload) bytes[bit / 8] ^= std::byte{1} << bit % 8;
  }
  EXPECT_EQ(std::memcmp(bytes.data(), model_.data(), model_.size()), 0);
  EXPECT_GT(accepted, model_.size());  // weights are free to change
  EXPECT_GT(refused, model_.size());   // sizes, places, padding and kinds are not
  // A wrapper's numbers are free too; an lm's sizes are tied to its tensors.
  if (GetParam().yaml == test::kWrapped) {
    EXPECT_GT(other_configs, 100u);
  }
}

// Offsets and sizes are 64 bits wide on every machine.
TEST(FileOfFiveGigabytes, IsRefusedNamingIt) {
  const formats::test::ScratchFolder folder;
  const std::string path = folder / "huge.xst";
  std::ofstream(path) << "XST1";
  ASSERT_EQ(truncate(path.c_str(), off_t{5} << 30), 0);  // sparse
  try {
    Model::open(path);
    FAIL() << "it opened";
  } catch (const Error& e) {
    EXPECT_NE(std::string_view(e.what()).find(path), std::string_view::npos) << e.what();
    if (sizeof(size_t) == 4) {
      EXPECT_EQ(e.code(), Status::out_of_memory) << e.what();
      EXPECT_NE(std::string_view(e.what()).find("32-bit"), std::string_view::npos) << e.what();
    }
  }
}

INSTANTIATE_TEST_SUITE_P(SmallModels, Loader,
                         testing::Values(Variant{"wrapped_f32", test::kWrapped,
                                                 formats::DType::f32},
                                         Variant{"lm_i8", test::kLm, formats::DType::i8},
                                         Variant{"lm_bf16", test::kLm, formats::DType::bf16},
                                         Variant{"large_i8", test::kLarge, formats::DType::i8},
                                         Variant{"tirex", test::kTirex, formats::DType::f32}),
                         [](const auto& instance) { return instance.param.name; });

}  // namespace
}  // namespace xst
