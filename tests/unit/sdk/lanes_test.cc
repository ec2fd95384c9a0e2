// Lanes against Sessions, on the CPU and, where there is one, a CUDA device.
#include "sdk/lanes.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>

#include "sdk/probe.h"
#include "tests/support/vectors.h"

namespace xst {
namespace {

using test::Case;

constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

std::vector<std::string> Devices() {
  std::string why;
  if (test::HasCuda(&why)) return {"cpu", "cuda:0"};
  std::printf("lanes: only on the CPU: %s\n", why.c_str());
  return {"cpu"};
}

// A case's columns in lanes, `spread` lanes apart; the lanes between hold other streams.
class Columns {
 public:
  Columns(const Case& c, const std::string& device, uint32_t spread)
      : c_(c),
        spread_(spread),
        lanes_(test::OpenCase(c.name, "", device), static_cast<uint32_t>(c.columns) * spread),
        mask_(lanes_.capacity(), 1),
        in_(lanes_.capacity() * c.in_width, 0.5f),
        tokens_(lanes_.capacity(), 0),
        out_(lanes_.capacity() * c.out_width) {
    while (lanes_.attach()) {
    }
  }

  Lanes& lanes() { return lanes_; }
  std::vector<uint8_t>& mask() { return mask_; }
  uint32_t lane(uint64_t column) const { return static_cast<uint32_t>(column) * spread_; }
  // What lanes that hold no column are given.
  void Disturb(float value) {
    for (uint32_t lane = 0; lane < lanes_.capacity(); ++lane) {
      if (lane % spread_ != 0) {
        std::fill_n(in_.begin() + lane * c_.in_width, c_.in_width, value);
      }
    }
  }

  Status Step(uint64_t t) {
    for (uint64_t b = 0; b < c_.columns; ++b) {
      const uint64_t row = t * c_.columns + b;
      if (c_.tokens) {
        tokens_[lane(b)] = c_.token_input[row];
      } else {
        std::copy_n(c_.input.begin() + row * c_.in_width, c_.in_width,
                    in_.begin() + lane(b) * c_.in_width);
      }
    }
    return c_.tokens ? lanes_.step(mask_, std::span<const int64_t>(tokens_), out_)
                     : lanes_.step(mask_, std::span<const float>(in_), out_);
  }
  std::span<float> out(uint32_t lane) { return {out_.data() + lane * c_.out_width, c_.out_width}; }

  // All steps of forward() at once: [column][steps][out_width].
  std::vector<std::vector<float>> Forward() {
    const uint64_t lanes = lanes_.capacity();
    std::vector<float> in(lanes * c_.steps * c_.in_width), out(lanes * c_.steps * c_.out_width);
    std::vector<int64_t> tokens(lanes * c_.steps);
    for (uint64_t i = 0; i < c_.columns * c_.steps; ++i) {
      const uint64_t b = i % c_.columns, to = lane(b) * c_.steps + i / c_.columns;
      if (c_.tokens) {
        tokens[to] = c_.token_input[i];
      } else {
        std::copy_n(c_.input.begin() + i * c_.in_width, c_.in_width, in.begin() + to * c_.in_width);
      }
    }
    const Status s = c_.tokens ? lanes_.forward(mask_, std::span<const int64_t>(tokens), out)
                               : lanes_.forward(mask_, std::span<const float>(in), out);
    EXPECT_TRUE(s == Status::ok || s == Status::held) << Describe(s);
    std::vector<std::vector<float>> columns;
    for (uint64_t b = 0; b < c_.columns; ++b) {
      const auto from = out.begin() + lane(b) * c_.steps * c_.out_width;
      columns.emplace_back(from, from + c_.steps * c_.out_width);
    }
    return columns;
  }

 private:
  const Case& c_;
  uint32_t spread_;
  Lanes lanes_;
  std::vector<uint8_t> mask_;
  std::vector<float> in_;
  std::vector<int64_t> tokens_;
  std::vector<float> out_;
};

class EveryCaseInLanes : public testing::TestWithParam<std::string> {};

TEST_P(EveryCaseInLanes, IsWithinToleranceInLanesWhateverIsBesideThem) {
  const Case c = test::LoadCase(GetParam());
  for (const std::string& device : Devices()) {
    for (const uint32_t spread : {1u, 7u}) {
      Columns columns(c, device, spread);
      std::vector<std::vector<float>> got(c.columns);
      std::mt19937 random(3);
      for (uint64_t t = 0; t < c.steps; ++t) {
        columns.Disturb(t % 3 == 0 ? kNaN : static_cast<float>(random() % 7));
        for (uint32_t lane = 0; lane < columns.lanes().capacity(); ++lane) {
          columns.mask()[lane] = lane % spread == 0 || random() % 2;
        }
        const Status s = columns.Step(t);
        ASSERT_TRUE(s == Status::ok || s == Status::held) << Describe(s);
        for (uint64_t b = 0; b < c.columns; ++b) {
          const auto row = columns.out(columns.lane(b));
          got[b].insert(got[b].end(), row.begin(), row.end());
        }
      }
      for (uint64_t b = 0; b < c.columns; ++b) {
        EXPECT_LE(test::ColumnError(c, b, got[b], c.expected), c.Tolerance())
            << device << " spread " << spread << " column " << b;
        EXPECT_EQ(columns.lanes().steps(columns.lane(b)), c.steps);
      }
    }
  }
}

TEST_P(EveryCaseInLanes, ForwardIsWithinToleranceAndLeavesTheStateOfSteps) {
  const Case c = test::LoadCase(GetParam());
  for (const std::string& device : Devices()) {
    Columns whole(c, device, 3), stepped(c, device, 3);
    const auto got = whole.Forward();
    for (uint64_t t = 0; t < c.steps; ++t) stepped.Step(t);
    for (uint64_t b = 0; b < c.columns; ++b) {
      EXPECT_LE(test::ColumnError(c, b, got[b], c.expected), c.ForwardTolerance()) << device;
      EXPECT_EQ(whole.lanes().steps(whole.lane(b)), c.steps);
      EXPECT_EQ(whole.lanes().quality(whole.lane(b)), stepped.lanes().quality(stepped.lane(b)));
    }
    if (device == "cpu" && whole.lanes().model()->info().arithmetic == "wide") {
      EXPECT_EQ(whole.lanes().save(0), stepped.lanes().save(0));
    }
    whole.Step(0);
    stepped.Step(0);
    for (uint64_t b = 0; b < c.columns; ++b) {
      const auto x = whole.out(whole.lane(b)), y = stepped.out(stepped.lane(b));
      EXPECT_LE(LargestDifference(x, y), 2 * c.ForwardTolerance()) << device;
    }
  }
}

TEST_P(EveryCaseInLanes, SnapshotsAreThoseOfASession) {
  const Case c = test::LoadCase(GetParam());
  const uint64_t half = c.steps / 2;
  for (const std::string& device : Devices()) {
    Columns columns(c, device, 2);
    for (uint64_t t = 0; t < half; ++t) columns.Step(t);
    Session session(test::OpenCase(c.name, "", device)), on_cpu(test::OpenCase(c.name));
    session.load(columns.lanes().save(0));
    on_cpu.load(columns.lanes().save(0));
    EXPECT_EQ(session.save(), columns.lanes().save(0));
    const auto rest = test::StepColumn(session, c, 0, half, c.steps);
    const auto rest_on_cpu = test::StepColumn(on_cpu, c, 0, half, c.steps);
    EXPECT_LE(LargestDifference(rest, rest_on_cpu), 2 * c.Tolerance()) << device;
    Columns back(c, device, 1);
    back.lanes().load(0, on_cpu.save());
    EXPECT_EQ(back.lanes().save(0), on_cpu.save());
    EXPECT_EQ(back.lanes().steps(0), c.steps);
  }
}

INSTANTIATE_TEST_SUITE_P(Vectors, EveryCaseInLanes, testing::ValuesIn(test::CaseNames()),
                         [](const auto& param) {
                           std::string name = param.param;
                           for (char& ch : name) ch = ch == '/' ? '_' : ch;
                           return name;
                         });

constexpr char kBare[] = "block_stack/mixed_bias_batch3";

// Lanes beside one Session each, under masks, resets and inputs drawn at random.
void ExpectSessions(const std::shared_ptr<const Model>& model, uint32_t capacity, int steps) {
  const ModelInfo& info = model->info();
  Lanes lanes(model, capacity);
  std::vector<Session> sessions;
  while (lanes.attach()) sessions.emplace_back(model);
  std::mt19937 random(capacity);
  std::normal_distribution<float> normal;
  std::vector<uint8_t> mask(capacity);
  std::vector<float> in(size_t{capacity} * info.input_width), want(info.output_width);
  std::vector<int64_t> tokens(capacity);
  std::vector<float> out(size_t{capacity} * info.output_width);
  for (int t = 0; t < steps; ++t) {
    for (uint32_t lane = 0; lane < capacity; ++lane) {
      mask[lane] = t == 0 || random() % 4 != 0;
      if (random() % 16 == 0) {
        lanes.reset(lane);
        sessions[lane].reset();
      }
      if (info.tokens) tokens[lane] = random() % formats::VocabSize(info.config);
    }
    for (float& x : in) x = random() % 50 == 0 ? kNaN : normal(random);
    if (info.tokens) {
      lanes.step(mask, std::span<const int64_t>(tokens), out);
    } else {
      lanes.step(mask, std::span<const float>(in), out);
    }
    for (uint32_t lane = 0; lane < capacity; ++lane) {
      if (!mask[lane]) continue;
      if (info.tokens) {
        sessions[lane].step(tokens[lane], want);
      } else {
        sessions[lane].step(std::span(in).subspan(lane * info.input_width, info.input_width), want);
      }
      ASSERT_EQ(
          std::memcmp(out.data() + lane * want.size(), want.data(), want.size() * sizeof(float)), 0)
          << "lane " << lane << " of " << capacity << ", step " << t;
      ASSERT_EQ(lanes.quality(lane), sessions[lane].quality());
    }
  }
  for (uint32_t lane = 0; lane < capacity; ++lane) {
    ASSERT_EQ(lanes.save(lane), sessions[lane].save()) << "lane " << lane << " of " << capacity;
  }
}

TEST_P(EveryCaseInLanes, OnTheCpuAreSessionsBitForBit) {
  constexpr Arithmetic kSingle = Arithmetic::single;
  ExpectSessions(test::OpenCase(GetParam()), 5, 4);
  for (const std::string& isa : AvailableIsas()) {
    SCOPED_TRACE(isa);
    for (const uint32_t capacity : {1u, 3u, 20u}) {
      ExpectSessions(test::OpenCase(GetParam(), isa, "cpu", kSingle), capacity, 6);
    }
    for (const auto dtype : {formats::DType::i16, formats::DType::bf16, formats::DType::i8}) {
      ExpectSessions(test::OpenCase(GetParam(), isa, "cpu", kSingle, false, dtype), 7, 4);
    }
  }
}

TEST_P(EveryCaseInLanes, ALaneAloneStepsAsUnderAMask) {
  const Case c = test::LoadCase(GetParam());
  if (c.tokens) return;
  for (const std::string& device : Devices()) {
    const auto model = test::OpenCase(c.name, "", device);
    const size_t width = c.in_width;
    Lanes alone(model, 3), masked(model, 3);
    for (int i = 0; i < 3; ++i) ASSERT_EQ(alone.attach(), masked.attach());
    std::vector<float> in(3 * width), out(3 * c.out_width), got(c.out_width);
    const std::vector<uint8_t> mask = {0, 1, 0};
    for (uint64_t t = 0; t < c.steps; ++t) {
      const std::span<const float> x(c.input.data() + t * c.columns * width, width);
      std::copy(x.begin(), x.end(), in.begin() + static_cast<ptrdiff_t>(width));
      const Status status = alone.step(1, x, got);
      EXPECT_EQ(status, masked.step(mask, std::span<const float>(in), out));
      ASSERT_EQ(std::memcmp(got.data(), out.data() + c.out_width, got.size() * sizeof(float)), 0);
    }
    EXPECT_EQ(alone.save(1), masked.save(1));
    EXPECT_EQ(alone.save(2), masked.save(2));
    EXPECT_EQ(alone.step(3, std::span<const float>(in).first(width), got),
              Status::invalid_argument);
    EXPECT_EQ(alone.step(1, std::span<const float>(in), got), Status::shape_mismatch);
  }
}

TEST(Lanes, ManyOnTheCpuAreSessionsBitForBit) {
  ExpectSessions(test::OpenCase("block_stack/readme_config"), 50, 4);
  ExpectSessions(test::OpenCase(kBare), 300, 3);
}

TEST(Lanes, TheirBitsDependOnNothingInOtherLanes) {
  const Case c = test::LoadCase(kBare);
  for (const std::string& device : Devices()) {
    Columns calm(c, device, 5), wild(c, device, 5);
    for (uint64_t t = 0; t < c.steps; ++t) {
      wild.Disturb(t % 2 ? kNaN : 1e30f);
      for (uint32_t lane = 0; lane < wild.lanes().capacity(); ++lane) {
        if (lane % 5 == 0) continue;
        wild.mask()[lane] = t % 3 != 0;
        if (t % 4 == 1) wild.lanes().reset(lane);
        if (t % 4 == 3) {
          wild.lanes().detach(lane);
          ASSERT_TRUE(wild.lanes().attach());
        }
      }
      calm.Step(t);
      wild.Step(t);
      for (uint64_t b = 0; b < c.columns; ++b) {
        const auto x = calm.out(calm.lane(b)), y = wild.out(wild.lane(b));
        ASSERT_EQ(std::memcmp(x.data(), y.data(), x.size_bytes()), 0) << device << " step " << t;
      }
    }
    EXPECT_EQ(calm.lanes().save(5), wild.lanes().save(5)) << device;
  }
}

TEST(Lanes, LeaveOutputsAndStatesOfOtherLanesAlone) {
  const Case c = test::LoadCase(kBare);
  for (const std::string& device : Devices()) {
    Columns columns(c, device, 2);
    columns.Step(0);
    const auto before = columns.lanes().save(1);
    std::fill(columns.mask().begin(), columns.mask().end(), uint8_t{0});
    columns.mask()[0] = 1;
    std::fill(columns.out(1).begin(), columns.out(1).end(), -7.0f);
    columns.Step(1);
    EXPECT_EQ(columns.lanes().save(1), before);
    EXPECT_EQ(columns.lanes().steps(1), 1u);
    EXPECT_EQ(columns.out(1)[0], -7.0f);
    columns.lanes().reset(1);
    EXPECT_EQ(columns.lanes().steps(1), 0u);
    EXPECT_EQ(columns.lanes().steps(0), 2u);
  }
}

TEST(Lanes, ForwardLeavesOtherLanesAlone) {
  for (const char* name : {kBare, "block_stack/lstm_function", "large/02_fused_bias"}) {
    const Case c = test::LoadCase(name);
    for (const std::string& device : Devices()) {
      Columns columns(c, device, 3);
      for (uint64_t t = 0; t < 2; ++t) columns.Step(t);
      const auto before = columns.lanes().save(1), stepped = columns.lanes().save(0);
      for (uint32_t lane = 0; lane < columns.lanes().capacity(); ++lane) {
        columns.mask()[lane] = lane % 3 == 0;
      }
      columns.Forward();
      EXPECT_EQ(columns.lanes().save(1), before) << name << " on " << device;
      EXPECT_NE(columns.lanes().save(0), stepped);
    }
  }
}

// As many tokens as the fast kernels of long inputs want, a lane left out.
TEST(Lanes, ForwardOfManyTokensIsSteps) {
  constexpr uint32_t kLanes = 70, kSteps = 100, kOut = 3;
  for (const std::string& device : Devices()) {
    const auto model = test::OpenCase("block_stack/readme_config", "", device);
    const size_t width = model->info().input_width;
    Lanes whole(model, kLanes), stepped(model, kLanes);
    while (whole.attach() && stepped.attach()) {
    }
    std::vector<uint8_t> mask(kLanes, 1);
    mask[kOut] = 0;
    std::mt19937 random(5);
    std::normal_distribution<float> normal;
    std::vector<float> in(kLanes * kSteps * width), out(in.size(), 7), row(kLanes * width);
    for (float& x : in) x = normal(random);
    ASSERT_EQ(whole.forward(mask, in, out), Status::ok);
    double error = 0, largest = 0;
    std::vector<float> got(row.size());
    for (uint32_t t = 0; t < kSteps; ++t) {
      for (uint32_t lane = 0; lane < kLanes; ++lane) {
        std::copy_n(in.data() + (lane * kSteps + t) * width, width, row.data() + lane * width);
      }
      ASSERT_EQ(stepped.step(mask, row, got), Status::ok);
      for (uint32_t lane = 0; lane < kLanes; ++lane) {
        if (lane == kOut) continue;
        const std::span a(out.data() + (lane * kSteps + t) * width, width);
        const std::span b(got.data() + lane * width, width);
        error = std::max(error, LargestDifference(a, b));
        largest = std::max(largest, LargestMagnitude(b));
      }
    }
    EXPECT_LE(error, 2e-4 * largest) << device;  // float32 steps are as far from exact ones
    EXPECT_EQ(out[kOut * kSteps * width], 7) << device;
    EXPECT_EQ(whole.steps(kOut), 0u);
    EXPECT_EQ(whole.steps(0), kSteps);
  }
}

TEST(Lanes, NothingActiveIsNothingDone) {
  const Case c = test::LoadCase(kBare);
  for (const std::string& device : Devices()) {
    for (const uint32_t capacity : {1u, 2u, 1100u}) {
      Lanes lanes(test::OpenCase(kBare, "", device), capacity);
      lanes.attach();
      std::vector<uint8_t> mask(capacity);
      std::vector<float> in(capacity * c.in_width, 0.5f), out(capacity * c.out_width);
      mask[0] = 1;
      EXPECT_EQ(lanes.step(mask, std::span<const float>(in), out), Status::ok);
      const auto state = lanes.save(0);
      mask[0] = 0;
      EXPECT_EQ(lanes.step(mask, std::span<const float>(in), out), Status::ok);
      EXPECT_EQ(lanes.forward(mask, std::span<const float>(in), out), Status::ok);
      mask[0] = 1;
      EXPECT_EQ(lanes.forward(mask, std::span<const float>(), std::span<float>()), Status::ok);
      EXPECT_EQ(lanes.save(0), state) << device << " capacity " << capacity;
      EXPECT_EQ(lanes.steps(0), 1u);
    }
  }
}

TEST(Lanes, AttachTheLowestFreeLaneFresh) {
  for (const std::string& device : Devices()) {
    Lanes lanes(test::OpenCase(kBare, "", device), 3);
    const auto fresh = Session(test::OpenCase(kBare)).save();
    EXPECT_EQ(lanes.attach(), 0u);
    EXPECT_EQ(lanes.attach(), 1u);
    EXPECT_EQ(lanes.attach(), 2u);
    EXPECT_EQ(lanes.attach(), std::nullopt);
    const Case c = test::LoadCase(kBare);
    std::vector<float> in(3 * c.in_width, 1), out(3 * c.out_width);
    const std::vector<uint8_t> all(3, 1);
    EXPECT_EQ(lanes.step(all, std::span<const float>(in), out), Status::ok);
    lanes.detach(1);
    EXPECT_EQ(lanes.attached(), 2u);
    EXPECT_EQ(lanes.step(all, std::span<const float>(in), out), Status::invalid_argument);
    EXPECT_EQ(lanes.steps(0), 1u);
    EXPECT_EQ(lanes.attach(), 1u);
    EXPECT_EQ(lanes.save(1), fresh);
  }
}

TEST(Lanes, RefuseWhatDoesNotFit) {
  EXPECT_THROW(Lanes(test::OpenCase(kBare), 0), Error);
  const Case c = test::LoadCase("block_stack/lm_tied");
  Lanes lanes(test::OpenCase(c.name), 2);
  lanes.attach();
  lanes.attach();
  const std::vector<uint8_t> all(2, 1);
  std::vector<float> out(2 * c.out_width);
  const std::vector<int64_t> tokens = {0, 1}, bad = {0, 1 << 20};
  EXPECT_EQ(lanes.step(all, std::span<const int64_t>(tokens), out), Status::ok);
  EXPECT_EQ(lanes.step(all, std::span<const int64_t>(bad), out), Status::invalid_argument);
  EXPECT_EQ(lanes.step({all.data(), 1}, std::span<const int64_t>(tokens), out),
            Status::shape_mismatch);
  EXPECT_EQ(lanes.step(all, std::span<const float>(out.data(), 2), out), Status::shape_mismatch);
  EXPECT_EQ(lanes.steps(0), 1u);
  EXPECT_EQ(lanes.steps(1), 1u);
  EXPECT_THROW(lanes.load(0, std::vector<std::byte>(3)), Error);
}

}  // namespace
}  // namespace xst
