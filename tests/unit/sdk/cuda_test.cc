// Every case on a CUDA device. Without one every test is skipped and says why.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <thread>

#include "sdk/forecast.h"
#include "sdk/lanes.h"
#include "sdk/probe.h"
#include "sdk/session.h"
#include "tests/support/vectors.h"

namespace xst {
namespace {

using test::Case;

class OnCuda : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    std::string why;
    if (!test::HasCuda(&why)) GTEST_SKIP() << "no CUDA device: " << why;
  }
};

std::shared_ptr<const Model> Open(const std::string& name, bool resident = false) {
  return test::OpenCase(name, "", "cuda:0", Arithmetic::automatic, resident);
}

TEST_P(OnCuda, IsWithinTolerance) {
  const Case c = test::LoadCase(GetParam());
  const auto model = Open(c.name);
  EXPECT_EQ(model->info().device, "cuda:0");
  for (uint64_t b = 0; b < c.columns; ++b) {
    Session stepped(model), whole(model);
    EXPECT_LE(test::ColumnError(c, b, test::StepColumn(stepped, c, b, 0, c.steps), c.expected),
              c.Tolerance());
    EXPECT_LE(test::ColumnError(c, b, test::ForwardColumn(whole, c, b), c.expected),
              c.ForwardTolerance());
    EXPECT_EQ(whole.quality(), stepped.quality());
  }
}

TEST_P(OnCuda, IsWithinToleranceInSingleArithmeticToo) {
  const Case c = test::LoadCase(GetParam());
  const auto model = test::OpenCase(c.name, "", "cuda:0", Arithmetic::single);
  // As on the CPU: where rounding decides, single sums are further from exact.
  const double factor = c.name == "stream/forecaster" ? 10 : 1;
  Session stepped(model), whole(model);
  EXPECT_LE(test::ColumnError(c, 0, test::StepColumn(stepped, c, 0, 0, c.steps), c.expected),
            factor * c.Tolerance());
  EXPECT_LE(test::ColumnError(c, 0, test::ForwardColumn(whole, c, 0), c.expected),
            factor * c.ForwardTolerance());
}

TEST_P(OnCuda, ContinuesBitEqualFromASnapshot) {
  const Case c = test::LoadCase(GetParam());
  for (const bool resident : {false, true}) {
    const auto model = Open(c.name, resident);
    Session whole(model), first(model);
    const auto unsplit = test::StepColumn(whole, c, 0, 0, c.steps);
    for (uint64_t split = 0; split <= c.steps; split += c.steps / 4 + 1) {
      Session loaded(model), cloned = first.clone();
      loaded.load(first.save());
      const size_t at = split * c.out_width;
      const auto a = test::StepColumn(loaded, c, 0, split, c.steps);
      const auto b = test::StepColumn(cloned, c, 0, split, c.steps);
      EXPECT_EQ(std::memcmp(a.data(), unsplit.data() + at, a.size() * sizeof(float)), 0);
      EXPECT_EQ(std::memcmp(b.data(), unsplit.data() + at, b.size() * sizeof(float)), 0);
      EXPECT_EQ(loaded.save(), whole.save());
      test::StepColumn(first, c, 0, split, std::min(split + c.steps / 4 + 1, c.steps));
    }
    first.reset();
    EXPECT_EQ(first.save(), Session(model).save());
  }
}

TEST_P(OnCuda, MovesBetweenDevices) {
  const Case c = test::LoadCase(GetParam());
  const auto on_cuda = Open(c.name), on_cpu = test::OpenCase(c.name);
  std::vector<float> out;
  std::vector<std::byte> state = Session(on_cpu).save();
  for (uint64_t part = 0; part < 4; ++part) {
    Session session(part % 2 ? on_cuda : on_cpu);
    session.load(state);
    EXPECT_EQ(session.save(), state);
    const auto some = test::StepColumn(session, c, 0, part * c.steps / 4, (part + 1) * c.steps / 4);
    out.insert(out.end(), some.begin(), some.end());
    state = session.save();
  }
  EXPECT_LE(test::ColumnError(c, 0, out, c.expected), c.Tolerance());
}

TEST_P(OnCuda, AResidentKernelGivesTheBitsOfALaunchAStep) {
  const Case c = test::LoadCase(GetParam());
  Session launched(Open(c.name)), resident(Open(c.name, true));
  const auto a = test::StepColumn(launched, c, 0, 0, c.steps);
  auto b = test::StepColumn(resident, c, 0, 0, c.steps / 2);
  // Long enough for an idle kernel to leave: the next step brings another.
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  const auto rest = test::StepColumn(resident, c, 0, c.steps / 2, c.steps);
  b.insert(b.end(), rest.begin(), rest.end());
  EXPECT_EQ(std::memcmp(a.data(), b.data(), a.size() * sizeof(float)), 0);
  EXPECT_EQ(launched.save(), resident.save());
}

INSTANTIATE_TEST_SUITE_P(Vectors, OnCuda, testing::ValuesIn(test::CaseNames()),
                         [](const auto& param) {
                           std::string name = param.param;
                           for (char& ch : name) ch = ch == '/' ? '_' : ch;
                           return name;
                         });

class Cuda : public testing::Test {
 protected:
  void SetUp() override {
    std::string why;
    if (!test::HasCuda(&why)) GTEST_SKIP() << "no CUDA device: " << why;
  }
};

TEST_F(Cuda, ForwardInPiecesIsForwardAtOnce) {
  const Case c = test::LoadCase("block_stack/readme_config");
  const auto model = Open(c.name);
  Session once(model), pieces(model);
  const auto want = test::ForwardColumn(once, c, 0);
  std::vector<float> got;
  for (uint64_t t = 0; t < c.steps;) {
    const uint64_t n = std::min<uint64_t>(1 + t % 5, c.steps - t);
    std::vector<float> in, out(n * c.out_width);
    for (uint64_t i = t; i < t + n; ++i) {
      const auto row = c.input.begin() + i * c.columns * c.in_width;
      in.insert(in.end(), row, row + c.in_width);
    }
    ASSERT_EQ(pieces.forward(std::span<const float>(in), out), Status::ok);
    got.insert(got.end(), out.begin(), out.end());
    t += n;
  }
  EXPECT_LE(LargestDifference(got, want), c.ForwardTolerance());
}

TEST_F(Cuda, ASessionOutlivesWhatItWasAssignedOver) {
  const Case c = test::LoadCase("block_stack/readme_config");
  for (const bool resident : {false, true}) {
    Session session(Open("block_stack/mixed_bias_batch3", resident));
    std::vector<float> in(session.model()->info().input_width, 0.5f);
    std::vector<float> out(session.model()->info().output_width);
    ASSERT_EQ(session.step(in, out), Status::ok);
    session = Session(Open(c.name, resident));
    const auto got = test::StepColumn(session, c, 0, 0, c.steps);
    EXPECT_LE(test::ColumnError(c, 0, got, c.expected), c.Tolerance());
  }
}

TEST_F(Cuda, ForwardOfNothingOrOneStep) {
  for (const char* name : {"block_stack/readme_config", "large/01_single_defaults"}) {
    const Case c = test::LoadCase(name);
    Session whole(Open(c.name)), stepped(Open(c.name));
    if (c.tokens) {
      EXPECT_EQ(whole.forward(std::span<const int64_t>(), std::span<float>()), Status::ok);
    } else {
      EXPECT_EQ(whole.forward(std::span<const float>(), std::span<float>()), Status::ok);
    }
    EXPECT_EQ(whole.steps(), 0u);
    std::vector<float> a(c.out_width);
    const auto b = test::StepColumn(stepped, c, 0, 0, 1);
    const Status s = c.tokens ? whole.forward(std::span(c.token_input).first(1), a)
                              : whole.forward(std::span(c.input).first(c.in_width), a);
    EXPECT_EQ(s, Status::ok);
    EXPECT_LE(LargestDifference(a, b), c.Tolerance());
  }
}

TEST_F(Cuda, ABf16ForwardIsNearAndItsStateGoesOn) {
  const Case c = test::LoadCase("large/05_long_batch_eps");
  Options options;
  options.device.kind = Device::Kind::cuda;
  options.bf16_forward = true;
  for (const Arithmetic arithmetic : {Arithmetic::single, Arithmetic::wide}) {
    options.arithmetic = arithmetic;
    const auto model = Model::open(test::PackedCase(c.name), options);
    Session session(model);
    std::vector<int64_t> tokens;
    for (uint64_t t = 0; t < c.steps; ++t) tokens.push_back(c.token_input[t * c.columns]);
    std::vector<float> all(c.steps * c.out_width), last(c.out_width);
    const Status s = session.forward(tokens, all);
    if (s == Status::no_device) GTEST_SKIP() << "no cuBLASLt";
    ASSERT_EQ(s, Status::ok);
    // A step whose denominator is near nothing is far off in 8 bits, as it is with bf16 weights.
    std::vector<double> errors;
    for (uint64_t t = 0; t < c.steps; ++t) {
      const auto row = [&](const std::vector<float>& from, uint64_t r) {
        return std::span(from).subspan(r * c.out_width, c.out_width);
      };
      errors.push_back(LargestDifference(row(all, t), row(c.expected, t * c.columns)));
    }
    std::nth_element(errors.begin(), errors.begin() + c.steps / 2, errors.end());
    EXPECT_LE(errors[c.steps / 2], 0.1 * LargestMagnitude(c.expected));
    EXPECT_EQ(session.step(tokens[0], last), Status::ok);
    EXPECT_EQ(session.forward(std::span<const int64_t>(tokens).first(1), last), Status::ok);
    session.reset();
    EXPECT_EQ(session.forward(tokens, last), Status::ok);
    std::vector<float> want(all.end() - static_cast<ptrdiff_t>(c.out_width), all.end());
    EXPECT_LE(LargestDifference(last, want), 0.2 * LargestMagnitude(c.expected));
  }
}

TEST_F(Cuda, NamesTheDevicesThereAre) {
  try {
    test::OpenCase("block_stack/kernel_one", "", "cuda:4096");
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), Status::no_device);
    const std::string what = e.what();
    EXPECT_NE(what.find("(cpu, reference, cuda:0"), std::string::npos) << what;
    EXPECT_NE(what.find("got 'cuda:4096'"), std::string::npos) << what;
  }
}

TEST_F(Cuda, TenThreadsHaveASessionEach) {
  const Case c = test::LoadCase("block_stack/readme_config");
  const auto model = Open(c.name);
  Session alone(model);
  const auto want = test::StepColumn(alone, c, 0, 0, c.steps);
  std::vector<std::vector<float>> got(10);
  std::vector<std::thread> threads;
  for (auto& out : got) {
    threads.emplace_back([&] {
      Session session(model);
      out = test::StepColumn(session, c, 0, 0, c.steps);
    });
  }
  for (std::thread& t : threads) t.join();
  for (const auto& out : got) EXPECT_EQ(out, want);
}

TEST_F(Cuda, AShortageOfMemoryIsAnErrorAndNothingElse) {
  const Case c = test::LoadCase("block_stack/readme_config");
  const auto model = Open(c.name);
  Session session(model);
  const auto before = test::StepColumn(session, c, 0, 0, 2);
  // More frames than any device has room for.
  EXPECT_THROW(
      {
        try {
          Lanes(model, 1u << 22);
        } catch (const Error& e) {
          EXPECT_EQ(e.code(), Status::out_of_memory);
          throw;
        }
      },
      Error);
  session.reset();
  EXPECT_EQ(test::StepColumn(session, c, 0, 0, 2), before);
}

TEST_F(Cuda, ForecastsAsTheCpu) {
  const std::string rollout = "{every: 5, horizon: 16}";
  Forecaster cuda(test::OpenTirex(rollout, "cuda:0")), cpu(test::OpenTirex(rollout));
  std::vector<float> a(16 * cpu.quantiles()), b(a.size());
  for (int i = 0; i < 40; ++i) {
    const float x = std::sin(0.3f * static_cast<float>(i)) + 0.01f * static_cast<float>(i);
    cuda.push(x);
    cpu.push(x);
  }
  ASSERT_EQ(cuda.forecast(a), Status::ok);
  ASSERT_EQ(cpu.forecast(b), Status::ok);
  EXPECT_LE(LargestDifference(a, b), 1e-5 * LargestMagnitude(b));
}

}  // namespace
}  // namespace xst
