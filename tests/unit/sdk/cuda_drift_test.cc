// A million steps on a CUDA device beside the double-precision reference and the CPU.
#include <gtest/gtest.h>

#include <random>

#include "sdk/probe.h"
#include "sdk/session.h"
#include "tests/support/vectors.h"

namespace xst {
namespace {

// The reference is slow, so it follows a part of the way from the same state: what has drifted by
// then would show as a difference from the CPU, and what the arithmetic loses as one from it.
TEST(CudaDrift, StaysWhereTheReferenceIs) {
  std::string why;
  if (!test::HasCuda(&why)) GTEST_SKIP() << "no CUDA device: " << why;
  constexpr char kName[] = "block_stack/mixed_bias_batch3";
  constexpr uint64_t kSteps = 1'000'000, kPiece = 10'000, kWindow = 200;
  const test::Case c = test::LoadCase(kName);
  Session cuda(test::OpenCase(kName, "", "cuda:0")), cpu(test::OpenCase(kName));
  const auto reference = test::OpenCase(kName, "", "reference");
  std::mt19937 random(11);
  std::normal_distribution<float> normal;
  std::vector<float> in(kPiece * c.in_width), a(kPiece * c.out_width), b(a.size());
  double largest = 0, from_cpu = 0, from_reference = 0;
  for (uint64_t done = 0; done < kSteps; done += kPiece) {
    for (float& x : in) x = normal(random);
    const auto state = cuda.save();
    ASSERT_EQ(cuda.forward(std::span<const float>(in), a), Status::ok);
    ASSERT_EQ(cpu.forward(std::span<const float>(in), b), Status::ok);
    from_cpu = std::max(from_cpu, LargestDifference(a, b));
    largest = std::max(largest, LargestMagnitude(b));
    if (done % (10 * kPiece) != 0) continue;
    Session exact(reference);
    exact.load(state);
    std::vector<float> want(kWindow * c.out_width);
    exact.forward(std::span<const float>(in).first(kWindow * c.in_width), want);
    from_reference = std::max(
        from_reference, LargestDifference(std::span<const float>(a).first(want.size()), want));
  }
  std::printf("%llu steps: %.3g from the CPU, %.3g from the reference, largest output %.3g\n",
              static_cast<unsigned long long>(kSteps), from_cpu, from_reference, largest);
  EXPECT_LE(from_reference, 1e-5 * largest);
  EXPECT_LE(from_cpu, 1e-4 * largest);
}

}  // namespace
}  // namespace xst
