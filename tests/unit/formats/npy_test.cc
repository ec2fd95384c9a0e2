#include "formats/npy.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "formats/status.h"
#include "tests/unit/formats/support.h"

namespace xst::formats {
namespace {

std::string Npy(const std::string& dict, const std::string& data, int version = 1) {
  std::string file = "\x93NUMPY";
  file += static_cast<char>(version);
  file += '\0';
  file += static_cast<char>(dict.size() & 255);
  file += static_cast<char>(dict.size() >> 8);
  if (version > 1) file += std::string(2, '\0');
  return file + dict + data;
}

std::string FailureOf(const std::string& file) {
  try {
    ParseNpy(file.data(), file.size(), "x.npy");
  } catch (const Error& e) {
    return e.what();
  }
  return "accepted";
}

TEST(Npy, RoundTrip) {
  const test::ScratchFolder folder;
  const float values[] = {1, NAN, -INFINITY, 1e-45f, 3, 4};
  for (const auto& shape : std::vector<std::vector<uint64_t>>{{6}, {2, 3}, {1, 3, 2}}) {
    WriteNpy(folder / "a.npy", shape, values);
    const Array a = ReadNpy(folder / "a.npy");
    EXPECT_TRUE(a.is_f32);
    EXPECT_EQ(a.shape, shape);
    ASSERT_EQ(a.f32.size(), 6u);
    EXPECT_EQ(std::memcmp(a.f32.data(), values, sizeof values), 0);
  }
  const int64_t ids[] = {-1, int64_t{1} << 60};
  WriteNpy(folder / "i.npy", {2}, ids);
  const Array i = ReadNpy(folder / "i.npy");
  EXPECT_FALSE(i.is_f32);
  EXPECT_EQ(i.i64, (std::vector<int64_t>{-1, int64_t{1} << 60}));
  EXPECT_EQ(folder.files(), 2u);
}

TEST(Npy, ReadsWhatNumpyWrote) {
  const Array a = ReadNpy(std::string(XST_TEST_DATA) + "/block_stack/mixed_bias_batch3/input.npy");
  ASSERT_EQ(a.shape.size(), 3u);
  EXPECT_EQ(a.shape[1], 3u);
  EXPECT_EQ(a.f32.size(), a.size());
  EXPECT_FALSE(ReadNpy(std::string(XST_TEST_DATA) + "/block_stack/lm_tied/input.npy").is_f32);
}

TEST(Npy, AcceptsEveryVersionAndEmptyShapes) {
  const std::string dict = "{'descr': '<f4', 'fortran_order': False, 'shape': (1,), }";
  for (int version : {1, 2, 3}) {
    EXPECT_EQ(FailureOf(Npy(dict, std::string(4, '\0'), version)), "accepted") << version;
  }
  EXPECT_EQ(FailureOf(Npy("{\"descr\":\"<f4\",\"fortran_order\":False,\"shape\":()}", "abcd")),
            "accepted");
  EXPECT_EQ(FailureOf(Npy("{'descr': '<f4', 'fortran_order': False, 'shape': (0, 9)}", "")),
            "accepted");
}

TEST(Npy, RefusesEverythingElse) {
  const auto with = [](const char* descr, const char* order, const char* shape,
                       const char* data = "abcd") {
    return Npy(std::string("{'descr': '") + descr + "', 'fortran_order': " + order +
                   ", 'shape': " + shape + ", }",
               data);
  };
  const struct {
    std::string file;
    const char* what;
  } kBad[] = {
      {"", "another type"},
      {"PK\x03\x04 and more bytes", "another type"},
      {Npy("{}", "", 4), "version"},
      {Npy("{}", ""), "descr, fortran_order and shape"},
      {with("<f8", "False", "(1,)"), "dtype"},
      {with(">f4", "False", "(1,)"), "dtype"},
      {with("<f4", "True", "(1,)"), "C order"},
      {with("<f4", "False", "(2,)"), "expected 8 bytes of data"},
      {with("<f4", "False", "(0,)"), "expected 0 bytes"},
      {with("<f4", "False", "(-1,)"), "shape"},
      {with("<f4", "False", "(68719476736, 68719476736, 68719476736)"), "2^64"},
      {with("<f4", "False", "(99999999999999999999,)"), "shape"},
      {with("<f4", "Maybe", "(1,)"), "header"},
      {with("<f4", "False", "1"), "header"},
      {with("<f4", "False", "(1,), 'x': 1"), "header"},
      {Npy("{'descr': '<f4', 'fortran_order': False, 'shape': (1,)} x", "abcd"), "header"},
      {Npy("{'descr': '<f4', 'descr': '<f4'", ""), "header"},
      {Npy("{'descr': '<f4", ""), "header"},
  };
  for (const auto& bad : kBad) {
    const std::string why = FailureOf(bad.file);
    EXPECT_NE(why.find(bad.what), std::string::npos) << bad.file << "\n" << why;
  }
  const std::string good = with("<f4", "False", "(1,)");
  for (size_t n = 0; n < good.size(); ++n) {
    EXPECT_NE(FailureOf(good.substr(0, n)), "accepted") << n;
  }
}

TEST(Csv, RoundTripKeepsEveryBit) {
  const test::ScratchFolder folder;
  const float values[] = {0.1f, -0.0f, 1e-45f, 3.4028235e38f, NAN, 16777217.0f, 1.0f / 3, 2};
  WriteCsv(folder / "a.csv", {"p", "q"}, 4, values);
  std::vector<std::string> columns;
  const Array a = ReadCsv(folder / "a.csv", &columns);
  EXPECT_EQ(columns, (std::vector<std::string>{"p", "q"}));
  EXPECT_EQ(a.shape, (std::vector<uint64_t>{4, 2}));
  for (size_t i = 0; i < 8; ++i) {
    if (std::isnan(values[i])) {
      EXPECT_TRUE(std::isnan(a.f32[i]));
    } else {
      EXPECT_EQ(std::memcmp(&a.f32[i], &values[i], 4), 0) << i;
    }
  }
}

Array FromText(const std::string& text) {
  const test::ScratchFolder folder;
  test::WriteText(folder / "a.csv", text);
  return ReadCsv(folder / "a.csv", nullptr);
}

TEST(Csv, ReadsMissingValuesQuotesAndLineEnds) {
  const Array a = FromText("\xEF\xBB\xBFx,\"y\"\r\n1, 2 \r\n,nan\r\n+3,\"4\"");
  EXPECT_EQ(a.shape, (std::vector<uint64_t>{3, 2}));
  EXPECT_EQ(a.f32[1], 2);
  EXPECT_TRUE(std::isnan(a.f32[2]) && std::isnan(a.f32[3]));
  EXPECT_EQ(a.f32[4], 3);
  EXPECT_EQ(a.f32[5], 4);
  EXPECT_EQ(FromText("a\n1\n\n3\n").f32.size(), 3u);  // a blank line of one column is missing
  EXPECT_EQ(FromText("0,1\n5,6\n").f32.size(), 2u);   // how pandas heads unnamed columns
  EXPECT_TRUE(std::isinf(FromText("a\n-inf\n").f32[0]));
}

TEST(Csv, RefusesTextWidthsAndOverflow) {
  for (const char* text : {"", "a,b\n1\n", "a\n1,2\n", "a\nabc\n", "a\n1e39\n", "a\n0x10\n",
                           "1.5,2\n3,4\n", "a\n1 2\n", "a\nnan(1)\n", "a\n--1\n"}) {
    EXPECT_THROW(FromText(text), Error) << text;
  }
  try {
    FromText("a,b\n1,2\n1,x\n");
    ADD_FAILURE();
  } catch (const Error& e) {
    EXPECT_NE(std::string(e.what()).find("line 3, column 2"), std::string::npos) << e.what();
  }
}

}  // namespace
}  // namespace xst::formats
