// Every case on every instruction set and the reference: conformance, and the properties of a
// stream.
#include "sdk/session.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>

#include "formats/npy.h"
#include "sdk/probe.h"
#include "tests/support/vectors.h"

namespace xst {
namespace {

using test::Case;

// Compares bits, so that NaN equals itself and -0 differs from 0.
bool SameBits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

class EveryCase : public testing::TestWithParam<std::string> {};

TEST_P(EveryCase, IsWithinToleranceOnEveryInstructionSet) {
  const Case c = test::LoadCase(GetParam());
  for (const std::string& isa : AvailableIsas()) {
    const auto model = test::OpenCase(c.name, isa);
    ASSERT_EQ(model->info().output_width, c.out_width);
    for (uint64_t b = 0; b < c.columns; ++b) {
      Session stepped(model), whole(model);
      EXPECT_LE(test::ColumnError(c, b, test::StepColumn(stepped, c, b, 0, c.steps), c.expected),
                c.Tolerance())
          << isa << " column " << b;
      EXPECT_LE(test::ColumnError(c, b, test::ForwardColumn(whole, c, b), c.expected),
                c.ForwardTolerance())
          << isa << " column " << b;
    }
  }
}

TEST_P(EveryCase, IsExactToFloat32RoundingOnTheReference) {
  const Case c = test::LoadCase(GetParam());
  const auto model = test::OpenCase(c.name, "", "reference");
  for (uint64_t b = 0; b < c.columns; ++b) {
    Session session(model);
    const auto out = test::StepColumn(session, c, b, 0, c.steps);
    EXPECT_LE(test::ColumnError(c, b, out, c.expected), 2e-7 * LargestMagnitude(c.expected));
  }
}

TEST_P(EveryCase, ContinuesBitEqualFromASnapshotAtEverySample) {
  const Case c = test::LoadCase(GetParam());
  const auto model = test::OpenCase(c.name);
  Session whole(model);
  const auto unsplit = test::StepColumn(whole, c, 0, 0, c.steps);
  const auto last = whole.save();
  Session first(model);
  for (uint64_t split = 0; split <= c.steps; ++split) {
    const auto snapshot = first.save();
    ASSERT_EQ(snapshot.size(), model->info().snapshot_bytes);
    Session loaded(model);
    loaded.load(snapshot);
    Session cloned = first.clone();
    const std::vector<float> want(unsplit.begin() + split * c.out_width, unsplit.end());
    EXPECT_TRUE(SameBits(test::StepColumn(loaded, c, 0, split, c.steps), want)) << split;
    EXPECT_TRUE(SameBits(test::StepColumn(cloned, c, 0, split, c.steps), want)) << split;
    EXPECT_EQ(loaded.save(), last);
    EXPECT_EQ(loaded.quality(), whole.quality());
    if (split < c.steps) test::StepColumn(first, c, 0, split, split + 1);
  }
}

TEST_P(EveryCase, StartsAnewAfterReset) {
  const Case c = test::LoadCase(GetParam());
  const auto model = test::OpenCase(c.name);
  Session session(model), fresh(model);
  const auto once = test::StepColumn(session, c, 0, 0, c.steps);
  session.reset();
  EXPECT_EQ(session.save(), fresh.save());
  EXPECT_TRUE(SameBits(test::StepColumn(session, c, 0, 0, c.steps), once));
}

TEST_P(EveryCase, ForwardEqualsSteps) {
  const Case c = test::LoadCase(GetParam());
  const auto model = test::OpenCase(c.name);
  Session stepped(model), whole(model);
  const auto steps = test::StepColumn(stepped, c, 0, 0, c.steps);
  EXPECT_LE(LargestDifference(test::ForwardColumn(whole, c, 0), steps), c.ForwardTolerance());
  EXPECT_EQ(whole.steps(), c.steps);
}

TEST_P(EveryCase, MovesBetweenDevices) {
  const Case c = test::LoadCase(GetParam());
  const uint64_t half = c.steps / 2;
  const auto reference = test::OpenCase(c.name, "", "reference");
  for (const std::string& isa : AvailableIsas()) {
    Session on_cpu(test::OpenCase(c.name, isa)), on_reference(reference);
    auto out = test::StepColumn(on_cpu, c, 0, 0, half);
    on_reference.load(on_cpu.save());
    const auto rest = test::StepColumn(on_reference, c, 0, half, c.steps);
    out.insert(out.end(), rest.begin(), rest.end());
    EXPECT_LE(test::ColumnError(c, 0, out, c.expected), c.Tolerance());
  }
}

INSTANTIATE_TEST_SUITE_P(Vectors, EveryCase, testing::ValuesIn(test::CaseNames()),
                         [](const auto& param) {
                           std::string name = param.param;
                           for (char& ch : name) ch = ch == '/' ? '_' : ch;
                           return name;
                         });

constexpr char kBare[] = "block_stack/odd_sizes";

TEST(Session, HoldsTheLastFiniteValueOfEachChannelInABareModel) {
  const Case c = test::LoadCase(kBare);
  const auto model = test::OpenCase(kBare);
  const size_t d = c.in_width;
  std::vector<float> first(c.input.begin(), c.input.begin() + d), second = first, out(d), want(d);
  for (float bad : {NAN, INFINITY, -INFINITY}) {
    Session held(model), clean(model);
    // Before there is a finite value it is 0.
    second = first;
    second[1] = bad;
    EXPECT_EQ(held.step(second, out), Status::held);
    EXPECT_EQ(held.quality(), kHeld | kReset);
    second[1] = 0;
    EXPECT_EQ(clean.step(second, want), Status::ok);
    EXPECT_TRUE(SameBits(out, want));

    EXPECT_EQ(held.step(first, out), Status::ok);
    EXPECT_EQ(clean.step(first, want), Status::ok);
    second = first;
    second[d - 1] = bad;
    EXPECT_EQ(held.step(second, out), Status::held);
    EXPECT_EQ(held.quality(), kHeld);
    EXPECT_EQ(clean.step(first, want), Status::ok);
    EXPECT_TRUE(SameBits(out, want));
  }
}

TEST(Session, RefusesWrongWidthsAndKeepsItsState) {
  const auto model = test::OpenCase(kBare);
  Session session(model);
  std::vector<float> in(model->info().input_width, 0.5f), out(model->info().output_width);
  session.step(in, out);
  const auto before = session.save();
  const std::vector<float> wide(in.size() + 1), narrow(in.size() - 1);
  std::vector<float> short_out(out.size() - 1);
  EXPECT_EQ(session.step(wide, out), Status::shape_mismatch);
  EXPECT_EQ(session.step(narrow, out), Status::shape_mismatch);
  EXPECT_EQ(session.step(in, short_out), Status::shape_mismatch);
  EXPECT_EQ(session.step(int64_t{0}, out), Status::shape_mismatch);
  EXPECT_EQ(session.forward(wide, out), Status::shape_mismatch);
  std::vector<std::byte> small(model->info().snapshot_bytes - 1);
  EXPECT_EQ(session.save(small), Status::shape_mismatch);
  EXPECT_EQ(session.save(), before);
}

TEST(Session, RefusesTokensOutsideTheVocabulary) {
  const auto model = test::OpenCase("block_stack/lm_untied");
  Session session(model);
  std::vector<float> out(model->info().output_width);
  const auto before = session.save();
  EXPECT_EQ(session.step(int64_t{-1}, out), Status::invalid_argument);
  EXPECT_EQ(session.step(int64_t{50}, out), Status::invalid_argument);
  EXPECT_EQ(session.forward(std::vector<int64_t>{50}, out), Status::invalid_argument);
  EXPECT_EQ(session.save(), before);
}

TEST(Session, RefusesEveryDamagedSnapshotAndKeepsItsState) {
  const auto model = test::OpenCase("block_stack/lstm_function");
  Session session(model);
  std::vector<float> in(model->info().input_width, 0.5f), out(model->info().output_width);
  session.step(in, out);
  const auto good = session.save();
  Fault fault;
  for (size_t cut = 0; cut < good.size(); ++cut) {
    EXPECT_NE(session.load(std::span(good).first(cut), {}, &fault), Status::ok) << cut;
  }
  for (size_t i = 0; i < good.size() * 8; ++i) {
    auto bad = good;
    bad[i / 8] ^= std::byte(1 << i % 8);
    EXPECT_NE(session.load(bad, {}, &fault), Status::ok) << "bit " << i;
    EXPECT_STRNE(fault.message, "");
  }
  EXPECT_EQ(session.save(), good);
}

TEST(Session, RefusesASnapshotOfAnotherModel) {
  Session one(test::OpenCase("block_stack/lstm_function"));
  Session other(test::OpenCase("block_stack/slstm_defaults"));
  try {
    one.load(other.save());
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), Status::other_model);
    EXPECT_NE(std::string(e.what()).find("arch_hash"), std::string::npos);
  }
}

TEST(Session, QualityTellsResetAndHeldInAWrappedModel) {
  const auto model = test::OpenCase("stream/forecaster");
  Session session(model);
  std::vector<float> out(model->info().output_width);
  const std::vector<float> good{0.1f}, missing{NAN};
  EXPECT_EQ(session.step(good, out), Status::ok);
  EXPECT_EQ(session.quality(), kReset);
  EXPECT_EQ(session.step(missing, out), Status::held);
  EXPECT_EQ(session.quality(), kHeld);
  EXPECT_EQ(session.step(good, out), Status::ok);
  EXPECT_EQ(session.quality(), 0u);
}

TEST(Session, LeavesNoDenormalsAfterAMillionQuietSamples) {
  const auto model = test::OpenCase("block_stack/no_norms_no_ff");
  Session session(model);
  std::vector<float> in(model->info().input_width, 1.0f), out(model->info().output_width);
  session.step(in, out);
  std::fill(in.begin(), in.end(), 0.0f);
  for (int i = 0; i < 1'000'000; ++i) session.step(in, out);
  const auto snapshot = session.save();
  for (size_t at = snapshot.size() - 8 - sizeof(float) * (model->info().state_bytes / 4);
       at + sizeof(float) <= snapshot.size() - 8; at += sizeof(float)) {
    float value;
    std::memcpy(&value, snapshot.data() + at, sizeof value);
    ASSERT_NE(std::fpclassify(value), FP_SUBNORMAL) << at;
  }
}

TEST(Session, RestoresTheCallersDenormalMode) {
  const auto model = test::OpenCase(kBare);
  Session session(model);
  std::vector<float> in(model->info().input_width, 1.0f), out(model->info().output_width);
  session.step(in, out);
  volatile float tiny = std::numeric_limits<float>::min();
  tiny = tiny / 2;
  EXPECT_EQ(std::fpclassify(tiny), FP_SUBNORMAL);
}

TEST(Model, NamesWhatItHasWhenAskedForSomethingElse) {
  const std::string path = test::PackedCase(kBare);
  const auto code_of = [&](const Options& options) {
    try {
      Model::open(path, options);
    } catch (const Error& e) {
      EXPECT_NE(std::string(e.what()).find("expected"), std::string::npos);
      return e.code();
    }
    return Status::ok;
  };
  Options isa, cuda, team;
  isa.isa = "sse9";
  EXPECT_EQ(code_of(isa), Status::no_instruction_set);
  cuda.device.kind = Device::Kind::cuda;
  EXPECT_EQ(code_of(cuda), Status::no_device);
  team.device.threads = 3;
  EXPECT_EQ(code_of(team), Status::no_device);
}

TEST(Model, OpensFromMemoryAndAnswersLikeTheFile) {
  const Case c = test::LoadCase(kBare);
  std::FILE* f = std::fopen(test::PackedCase(kBare).c_str(), "rb");
  std::vector<std::byte> bytes(test::OpenCase(kBare)->info().file_bytes);
  ASSERT_EQ(std::fread(bytes.data(), 1, bytes.size(), f), bytes.size());
  std::fclose(f);
  const auto model = Model::open(bytes);
  Session from_memory(model), from_file(test::OpenCase(kBare));
  EXPECT_TRUE(SameBits(test::StepColumn(from_memory, c, 0, 0, c.steps),
                       test::StepColumn(from_file, c, 0, 0, c.steps)));
  EXPECT_THROW(Model::open(std::span(bytes).first(bytes.size() - 1)), Error);
}

TEST(Device, ParsesItsNames) {
  for (const char* name : {"cpu", "cpu:4", "cuda:1", "reference"}) {
    Device d;
    Fault fault;
    ASSERT_EQ(Device::Parse(name, &d, &fault), Status::ok) << name;
    EXPECT_EQ(d.ToString(), name);
  }
  for (const char* name : {"", "cpu:", "cpu:0", "cpu:-1", "cpu:1x", "cuda", "cuda:", "gpu"}) {
    Device d;
    Fault fault;
    EXPECT_EQ(Device::Parse(name, &d, &fault), Status::invalid_argument) << name;
  }
}

TEST(Probe, ProvesTheDeviceAndRefusesAWrongOne) {
  for (const std::string& name :
       {std::string("block_stack/odd_sizes"), std::string("stream/forecaster"),
        std::string("block_stack/lm_tied")}) {
    const std::string source = std::string(XST_TEST_DATA) + "/" + name;
    formats::PackOptions options;
    options.probe = MakeProbe(source, options, {});
    ASSERT_GT(options.probe.bound_cpu, 0);
    const std::string path = test::PackedCase(name) + ".probe";
    formats::PackModel(source, path, options);
    for (const std::string& isa : AvailableIsas()) {
      Options open;
      open.isa = isa;
      const ProbeResult r = Model::open(path, open)->verify();
      EXPECT_TRUE(r.pass()) << name << " " << isa << " " << r.error << " > " << r.bound;
    }
    options.probe.expected_stored.back() += 1.0f;
    formats::PackModel(source, path, options);
    EXPECT_FALSE(Model::open(path)->verify().pass());
  }
  EXPECT_THROW(test::OpenCase(kBare)->verify(), Error);  // packed without a probe
}

}  // namespace
}  // namespace xst
