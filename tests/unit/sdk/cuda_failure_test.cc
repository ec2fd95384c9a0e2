// What happens when a CUDA device runs out of memory, or is lost.
#include <gtest/gtest.h>

#include <string>

#include "sdk/lanes.h"
#include "sdk/session.h"
#include "tests/support/cuda_trap.h"
#include "tests/support/vectors.h"

namespace xst {
namespace {

constexpr char kName[] = "block_stack/readme_config";

class CudaFailure : public testing::Test {
 protected:
  void SetUp() override {
    std::string why;
    if (!test::HasCuda(&why)) GTEST_SKIP() << "no CUDA device: " << why;
  }
};

// Opens a model and steps streams of it every way there is; every failure must be a shortage of
// memory that says so. True if all of it went well.
bool Everything(const test::Case& c) {
  try {
    const auto model = test::OpenCase(kName, "", "cuda:0");
    Session session(model);
    test::StepColumn(session, c, 0, 0, 2);
    session.save();
    Lanes lanes(model, 64);
    lanes.attach();
    std::vector<uint8_t> mask(64);
    mask[0] = 1;
    std::vector<float> in(64 * 8 * c.in_width, 0.1f), out(64 * 8 * c.out_width);
    const Status s = lanes.forward(mask, std::span<const float>(in), out);
    EXPECT_TRUE(s == Status::ok || s == Status::out_of_memory) << Describe(s);
    return s == Status::ok;
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), Status::out_of_memory) << e.what();
    EXPECT_NE(std::string(e.what()).find("cuda:0: expected"), std::string::npos) << e.what();
    return false;
  }
}

TEST_F(CudaFailure, AShortageAtAnyAllocationIsOneErrorAndOthersGoOn) {
  const test::Case c = test::LoadCase(kName);
  const auto model = test::OpenCase(kName, "", "cuda:0");
  Session steady(model), want_from(model);
  const auto want = test::StepColumn(want_from, c, 0, 0, c.steps);
  std::vector<float> got;
  size_t failures = 0, successes = 0;
  uint64_t t = 0;
  for (size_t leave = 0; leave <= size_t{192} << 20; leave += size_t{4} << 20) {
    void* taken = test::TakeDeviceMemory(leave);
    ASSERT_TRUE(taken) << leave;
    (Everything(c) ? successes : failures) += 1;
    test::GiveDeviceMemory(taken);
    if (t < c.steps) {
      const auto row = test::StepColumn(steady, c, 0, t, t + 1);
      got.insert(got.end(), row.begin(), row.end());
      ++t;
    }
  }
  std::printf("%zu shortages, %zu runs that fitted\n", failures, successes);
  EXPECT_GT(failures, 3u);
  EXPECT_TRUE(Everything(c));
  EXPECT_EQ(got, std::vector<float>(want.begin(), want.begin() + got.size()));
}

// Last in the file: no device call of this process works afterwards.
TEST_F(CudaFailure, ALostDeviceIsAStatusAndTheCpuGoesOn) {
  const test::Case c = test::LoadCase(kName);
  const auto model = test::OpenCase(kName, "", "cuda:0");
  Session lost(model), on_cpu(test::OpenCase(kName)), undisturbed(test::OpenCase(kName));
  Lanes lanes(model, 4);
  lanes.attach();
  const auto state = lost.save();
  const std::vector<float> in(c.in_width, 0.5f);
  std::vector<float> out(c.out_width);
  ASSERT_EQ(lost.step(in, out), Status::ok);
  on_cpu.step(in, out);
  ASSERT_TRUE(test::TrapDevice());

  for (int i = 0; i < 3; ++i) EXPECT_EQ(lost.step(in, out), Status::device_failed);
  EXPECT_EQ(lost.steps(), 1u);
  EXPECT_EQ(lost.forward(std::span<const float>(in), out), Status::device_failed);
  EXPECT_THROW(lost.save(), Error);
  EXPECT_THROW(lost.load(state), Error);
  EXPECT_THROW(lost.clone(), Error);
  lost.reset();
  const std::vector<uint8_t> mask = {1, 0, 0, 0};
  std::vector<float> rows(4 * c.in_width, 0.5f), outs(4 * c.out_width);
  EXPECT_EQ(lanes.step(mask, std::span<const float>(rows), outs), Status::device_failed);
  try {
    test::OpenCase(kName, "", "cuda:0");
    ADD_FAILURE() << "a lost device opened a model";
  } catch (const Error& e) {
    EXPECT_TRUE(e.code() == Status::device_failed || e.code() == Status::no_device) << e.what();
    EXPECT_NE(std::string(e.what()).find("expected"), std::string::npos) << e.what();
  }
  std::vector<float> want(c.out_width);
  undisturbed.step(in, want);
  EXPECT_EQ(on_cpu.step(in, out), Status::ok);
  undisturbed.step(in, want);
  EXPECT_EQ(out, want);
}

}  // namespace
}  // namespace xst
