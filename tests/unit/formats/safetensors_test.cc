#include "formats/safetensors.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>

#include "formats/status.h"
#include "tests/unit/formats/support.h"

namespace xst::formats {
namespace {

std::string File(const std::string& header, size_t data_bytes) {
  const uint64_t length = header.size();
  std::string file(reinterpret_cast<const char*>(&length), sizeof length);
  return file + header + std::string(data_bytes, '\0');
}

class SafetensorsTest : public testing::Test {
 protected:
  std::string FailureOf(const std::string& file) {
    const std::string path = folder_ / "w.safetensors";
    test::WriteText(path, file);
    try {
      Safetensors tensors(path);
    } catch (const Error& e) {
      EXPECT_TRUE(e.code() == Status::corrupt || e.code() == Status::truncated);
      return e.what();
    }
    return "accepted";
  }

  test::ScratchFolder folder_;
};

TEST_F(SafetensorsTest, WritesAndReads) {
  const std::string path = folder_ / "w.safetensors";
  const std::vector<NamedTensor> tensors = {{"a", {2, 3}, {1, -2, 3.5f, 0, 1e-40f, 3e38f}},
                                            {"s", {}, {7}},
                                            {"empty", {0, 4}, {}},
                                            {"naïve \"name\"", {1}, {9}}};
  WriteSafetensors(path, tensors);
  EXPECT_EQ(folder_.files(), 1u);
  const Safetensors file(path);
  ASSERT_EQ(file.entries().size(), tensors.size());
  for (const NamedTensor& t : tensors) {
    const auto* entry = file.find(t.name);
    ASSERT_TRUE(entry) << t.name;
    EXPECT_EQ(entry->shape, t.shape);
    EXPECT_EQ(file.read(*entry), t.values);
  }
  EXPECT_EQ(file.find("b"), nullptr);
}

TEST_F(SafetensorsTest, WidensEveryFloatType) {
  const uint16_t f16[] = {0x3C00, 0xC000, 0x0001, 0x8400, 0x7BFF, 0x7C00};
  const float expected16[] = {1, -2, 0x1p-24f, -0x1p-14f, 65504, INFINITY};
  const uint16_t bf16[] = {0x3F80, 0xC040};
  const double f64[] = {0.1, -1e300};
  std::string data(reinterpret_cast<const char*>(f16), sizeof f16);
  data.append(reinterpret_cast<const char*>(bf16), sizeof bf16);
  data.append(reinterpret_cast<const char*>(f64), sizeof f64);
  std::string file = File(R"({"h":{"dtype":"F16","shape":[6],"data_offsets":[0,12]},)"
                          R"("b":{"dtype":"BF16","shape":[2],"data_offsets":[12,16]},)"
                          R"("__metadata__":{"format":"pt"},)"
                          R"("d":{"dtype":"F64","shape":[2],"data_offsets":[16,32]},)"
                          R"("i":{"dtype":"I64","shape":[1],"data_offsets":[32,40]}})",
                          0);
  file += data + std::string(8, '\0');
  const std::string path = folder_ / "w.safetensors";
  test::WriteText(path, file);
  const Safetensors tensors(path);
  EXPECT_EQ(tensors.read(*tensors.find("h")),
            std::vector<float>(std::begin(expected16), std::end(expected16)));
  EXPECT_EQ(tensors.read(*tensors.find("b")), (std::vector<float>{1, -3}));
  EXPECT_EQ(tensors.read(*tensors.find("d"))[0], 0.1f);
  EXPECT_EQ(tensors.read(*tensors.find("d"))[1], -INFINITY);
  EXPECT_THROW(tensors.read(*tensors.find("i")), Error);
}

TEST_F(SafetensorsTest, RefusesLies) {
  const auto one = [](const char* shape, const char* offsets, const char* dtype = "F32") {
    return std::string(R"({"a":{"dtype":")") + dtype + R"(","shape":)" + shape +
           R"(,"data_offsets":)" + offsets + "}}";
  };
  EXPECT_EQ(FailureOf(File(one("[2]", "[0,8]"), 8)), "accepted");
  const struct {
    std::string file;
    const char* what;
  } kBad[] = {
      {"", "expected a safetensors file"},
      {std::string(8, '\xff'), "header"},
      {std::string("\x40\0\0\0\0\0\0\0", 8) + "{}", "header"},
      {File("", 0), "JSON"},
      {File("[]", 0), "object of tensors"},
      {File("{\"a\":1}", 0), "object of tensors"},
      {File(one("[2]", "[0,8]").substr(0, 40), 8), "JSON"},
      {File(one("[3]", "[0,8]"), 8), "12 bytes for its shape"},
      {File(one("[2]", "[0,8]"), 12), "fill the file"},
      {File(one("[2]", "[0,8]"), 4), "in the file"},
      {File(one("[2]", "[8,0]"), 8), "data_offsets"},
      {File(one("[2]", "[4,12]"), 12), "right behind"},
      {File(one("[-2]", "[0,8]"), 8), "negative"},
      {File(one("[2.0]", "[0,8]"), 8), "fraction"},
      {File(one("[4294967296,4294967296,4294967296]", "[0,8]"), 8), "2^64"},
      {File(one("[4611686018427387904]", "[0,0]"), 0), "2^64"},
      {File(one("[1,1,1,1,1,1,1,1,2]", "[0,8]"), 8), "axes"},
      {File(one("[2]", "[0,8]", "Q4"), 8), "dtype"},
      {File(one("[2]", "[0,8,9]"), 8), "data_offsets"},
      {File(one("2", "[0,8]"), 8), "got a number"},
      {File(one("[[2]]", "[0,8]"), 8), "got a list"},
      {File(R"({"a":{"dtype":"F32","shape":[2]}})", 8), "got fewer"},
      {File(R"({"a":{"dtype":"F32","shape":[2],"shape":[2],"data_offsets":[0,8]}})", 8), "once"},
      {File(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8],"x":1}})", 8), "got x"},
      {File(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},)"
            R"("a":{"dtype":"F32","shape":[2],"data_offsets":[8,16]}})",
            16),
       "twice"},
      {File(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},)"
            R"("b":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}})",
            12),
       "right behind"},
      {File(std::string(1'000'000, '['), 0), "object of tensors"},
      {File("{\"a\":" + std::string(1'000'000, '['), 0), "a list"},
      {File("{\"__metadata__\":" + std::string(100'000, '{'), 0), "header"},
  };
  for (const auto& bad : kBad) {
    const std::string why = FailureOf(bad.file);
    EXPECT_NE(why.find(bad.what), std::string::npos) << bad.file.substr(0, 120) << "\n" << why;
  }
}

// Any mangled file is an Error or tensors that can be read.
TEST_F(SafetensorsTest, MangledFilesAreRefusedOrReadable) {
  const std::string path = folder_ / "w.safetensors";
  WriteSafetensors(path, {{"a", {2, 3}, {1, 2, 3, 4, 5, 6}}, {"b", {1}, {7}}});
  const std::string good = test::ReadText(path);
  const char kBytes[] = "{}[]:,\"\\0123456789-.eFnul";
  std::mt19937 bits(9);
  for (int round = 0; round < 3000; ++round) {
    std::string bad = good;
    for (int change = 0; change < 2; ++change) {
      const size_t at = bits() % bad.size();
      bad[at] = bits() % 4 ? kBytes[bits() % (sizeof kBytes - 1)] : static_cast<char>(bits());
    }
    if (bits() % 8 == 0) bad.resize(bits() % bad.size());
    test::WriteText(path, bad);
    try {
      const Safetensors tensors(path);
      for (const auto& entry : tensors.entries()) tensors.read(entry);
    } catch (const Error& e) {
      EXPECT_NE(std::string(e.what()), "");
    }
  }
}

TEST_F(SafetensorsTest, MissingFilesAndFolders) {
  try {
    Safetensors tensors(folder_ / "none");
    ADD_FAILURE();
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), Status::not_found);
  }
  EXPECT_THROW(Safetensors tensors(folder_.path()), Error);
}

}  // namespace
}  // namespace xst::formats
