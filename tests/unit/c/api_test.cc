// The C interface as a caller holds it: models and sessions, what they compute and refuse.
#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>

#include "sdk/probe.h"
#include "tests/unit/c/objects.h"

namespace xst {
namespace {

using namespace test;  // NOLINT: this file is about those objects

class CCase : public testing::TestWithParam<std::string> {};

TEST_P(CCase, StepsAndForwardsAsExpected) {
  const test::Case c = test::LoadCase(GetParam());
  const ModelPtr model = Open(GetParam());
  const xst_model_info info = Info(model.get());
  EXPECT_EQ(info.tokens != 0, c.tokens);
  EXPECT_EQ(info.output_width, c.out_width);
  const SessionPtr stepped = MakeSession(model.get()), whole = MakeSession(model.get());
  std::vector<float> out(c.steps * c.out_width), all(out.size()), in;
  std::vector<int64_t> ids;
  for (uint64_t t = 0; t < c.steps; ++t) {
    float* row = out.data() + t * c.out_width;
    xst_status s;
    if (c.tokens) {
      ids.push_back(c.token_input[t * c.columns]);
      s = xst_session_step_token(stepped.get(), ids.back(), row, c.out_width);
    } else {
      const float* x = c.input.data() + t * c.columns * c.in_width;
      in.insert(in.end(), x, x + c.in_width);
      s = xst_session_step(stepped.get(), x, c.in_width, row, c.out_width);
    }
    ASSERT_FALSE(XST_FAILED(s)) << xst_last_error();
  }
  EXPECT_EQ(xst_session_steps(stepped.get()), c.steps);
  EXPECT_LE(test::ColumnError(c, 0, out, c.expected), c.Tolerance());
  const xst_status s =
      c.tokens
          ? xst_session_forward_tokens(whole.get(), ids.data(), ids.size(), all.data(), all.size())
          : xst_session_forward(whole.get(), in.data(), in.size(), all.data(), all.size());
  ASSERT_FALSE(XST_FAILED(s)) << xst_last_error();
  EXPECT_LE(test::ColumnError(c, 0, all, c.expected), c.ForwardTolerance());
  if (c.tokens) {
    std::vector<float> last(c.out_width);
    ASSERT_EQ(xst_session_reset(whole.get()), XST_OK);
    ASSERT_EQ(
        xst_session_forward_tokens(whole.get(), ids.data(), ids.size(), last.data(), last.size()),
        XST_OK);
    EXPECT_TRUE(std::equal(last.begin(), last.end(), all.end() - c.out_width));
  }
}

INSTANTIATE_TEST_SUITE_P(Cases, CCase, testing::ValuesIn(test::CaseNames()), [](const auto& p) {
  std::string name = p.param;
  for (char& ch : name) ch = ch == '/' ? '_' : ch;
  return name;
});

TEST(CModel, Describes) {
  const ModelPtr model = Open("stream/forecaster");
  const xst_model_info info = Info(model.get());
  EXPECT_STREQ(info.family, "block_stack");
  EXPECT_STREQ(info.dtype, "f32");
  EXPECT_STREQ(info.device, "cpu");
  EXPECT_EQ(std::strlen(info.arch_hash), 32u);
  EXPECT_NE(std::string(info.config_yaml).find("stream"), std::string::npos);
  const auto same = test::OpenCase("stream/forecaster");
  for (uint32_t i = 0; i < info.input_width; ++i) {
    EXPECT_EQ(xst_model_input_name(model.get(), i), same->info().input_names[i]);
    EXPECT_EQ(xst_model_input_unit(model.get(), i), same->info().input_units[i]);
  }
  for (uint32_t i = 0; i < info.output_width; ++i) {
    EXPECT_EQ(xst_model_output_name(model.get(), i), same->info().output_names[i]);
    EXPECT_EQ(xst_model_output_unit(model.get(), i), same->info().output_units[i]);
  }
  EXPECT_EQ(xst_model_input_name(model.get(), info.input_width), nullptr);
  const ModelPtr bare = Open("block_stack/odd_sizes");
  EXPECT_STREQ(xst_model_output_name(bare.get(), 0), "");
}

TEST(CModel, Verifies) {
  xst_probe_result probe = {};
  probe.struct_bytes = sizeof probe;
  const ModelPtr without = Open("block_stack/odd_sizes");
  EXPECT_EQ(xst_model_verify(without.get(), &probe), XST_NOT_FOUND);
  EXPECT_NE(std::string(xst_last_error()).find("probe"), std::string::npos);
  const std::string path = testing::TempDir() + "/c_probe_" + std::to_string(getpid()) + ".xst";
  PackWithProbe(std::string(XST_TEST_DATA) + "/stream/forecaster", path, {}, nullptr);
  xst_model* opened = nullptr;
  ASSERT_EQ(xst_model_open(path.c_str(), nullptr, &opened), XST_OK) << xst_last_error();
  const ModelPtr model(opened);
  std::remove(path.c_str());
  ASSERT_EQ(xst_model_verify(opened, &probe), XST_OK);
  EXPECT_EQ(probe.steps, Info(opened).probe_steps);
  EXPECT_TRUE(probe.pass);
  EXPECT_LE(probe.error, probe.bound);
  EXPECT_TRUE(std::isnan(probe.error_framework));
}

TEST(CModel, AnOlderCallersStructsAreFilledAsFarAsTheyGo) {
  const ModelPtr model = Open("block_stack/odd_sizes");
  xst_model_info info;
  std::memset(&info, 0xab, sizeof info);
  info.struct_bytes = offsetof(xst_model_info, rate_hz);
  ASSERT_EQ(xst_model_get_info(model.get(), &info), XST_OK);
  EXPECT_EQ(info.output_width, Info(model.get()).output_width);
  unsigned char untouched[sizeof(double)];
  std::memset(untouched, 0xab, sizeof untouched);
  EXPECT_EQ(std::memcmp(&info.rate_hz, untouched, sizeof untouched), 0);
  info.struct_bytes = 0;
  EXPECT_EQ(xst_model_get_info(model.get(), &info), XST_INVALID_ARGUMENT);
  EXPECT_EQ(std::string(xst_last_error()),
            "info.struct_bytes: expected at least " + std::to_string(sizeof(size_t)) + ", got 0");
}

TEST(CModel, ANewerCallersStructsAreTakenAsFarAsTheyAreKnown) {
  const ModelPtr model = Open("block_stack/odd_sizes");
  struct {
    xst_model_info known;
    uint64_t newer;
  } info = {};
  info.known.struct_bytes = sizeof info;
  info.newer = 5;
  ASSERT_EQ(xst_model_get_info(model.get(), &info.known), XST_OK);
  EXPECT_EQ(info.known.output_width, Info(model.get()).output_width);
  EXPECT_EQ(info.newer, 5u);
  struct {
    xst_model_options known;
    uint64_t newer;
  } options = {};
  options.known.struct_bytes = sizeof options;
  xst_model* opened = nullptr;
  const std::string path = test::PackedCase("block_stack/odd_sizes");
  ASSERT_EQ(xst_model_open(path.c_str(), &options.known, &opened), XST_OK);
  xst_model_destroy(opened);
  options.newer = 1;
  EXPECT_EQ(xst_model_open(path.c_str(), &options.known, &opened), XST_INVALID_ARGUMENT);
}

TEST(CModel, OpensFromMemory) {
  const std::string path = test::PackedCase("block_stack/odd_sizes");
  std::ifstream file(path, std::ios::binary);
  const std::string bytes((std::istreambuf_iterator<char>(file)), {});
  xst_model* opened = nullptr;
  ASSERT_EQ(xst_model_open_memory(bytes.data(), bytes.size(), nullptr, &opened), XST_OK);
  const ModelPtr model(opened), same = Open("block_stack/odd_sizes");
  const SessionPtr a = MakeSession(model.get()), b = MakeSession(same.get());
  EXPECT_EQ(Steps(a.get(), Info(model.get()), 0, 9), Steps(b.get(), Info(same.get()), 0, 9));
  opened = nullptr;
  EXPECT_EQ(xst_model_open_memory(bytes.data(), bytes.size() - 1, nullptr, &opened), XST_TRUNCATED);
  std::string broken = bytes;
  broken[bytes.size() / 2] ^= 1;
  EXPECT_EQ(xst_model_open_memory(broken.data(), broken.size(), nullptr, &opened), XST_CORRUPT);
  EXPECT_EQ(opened, nullptr);
}

TEST(CModel, StepsFromBytesInPlaceAsFromACopy) {
  const std::string path = test::PackedCase("block_stack/odd_sizes");
  std::ifstream file(path, std::ios::binary);
  const std::string bytes((std::istreambuf_iterator<char>(file)), {});
  // Of exactly their size, so that a sanitizer sees what lies behind.
  struct Free {
    void operator()(void* p) const { std::free(p); }
  };
  const size_t size = bytes.size();
  ASSERT_EQ(size % 64, 0u);
  const std::unique_ptr<void, Free> memory(std::aligned_alloc(64, size));
  std::memcpy(memory.get(), bytes.data(), size);
  xst_model_options options = Defaults();
  xst_model* opened = nullptr;
  ASSERT_EQ(xst_model_open_memory(bytes.data(), size, &options, &opened), XST_OK);
  const ModelPtr copied(opened);
  options.in_place = 1;
  opened = nullptr;
  ASSERT_EQ(xst_model_open_memory(memory.get(), size, &options, &opened), XST_OK);
  const ModelPtr in_place(opened);
  const SessionPtr a = MakeSession(in_place.get()), b = MakeSession(copied.get());
  EXPECT_EQ(Steps(a.get(), Info(in_place.get()), 0, 50), Steps(b.get(), Info(copied.get()), 0, 50));
  EXPECT_EQ(std::memcmp(memory.get(), bytes.data(), size), 0);

  const std::unique_ptr<void, Free> wider(std::aligned_alloc(64, size + 64));
  char* const unaligned = static_cast<char*>(wider.get()) + 1;
  std::memcpy(unaligned, bytes.data(), size);
  opened = nullptr;
  EXPECT_EQ(xst_model_open_memory(unaligned, size, &options, &opened), XST_INVALID_ARGUMENT);
  EXPECT_NE(std::string(xst_last_error()).find("aligned to 64 bytes"), std::string::npos);
  EXPECT_EQ(opened, nullptr);
  options.in_place = 0;
  ASSERT_EQ(xst_model_open_memory(unaligned, size, &options, &opened), XST_OK);
  xst_model_destroy(opened);
}

TEST(CModel, RefusesWhatIsNotThere) {
  xst_model* model = nullptr;
  EXPECT_EQ(xst_model_open("/no/such.xst", nullptr, &model), XST_NOT_FOUND);
  EXPECT_NE(std::string(xst_last_error()).find("/no/such.xst"), std::string::npos);
  const std::string path = test::PackedCase("block_stack/odd_sizes");
  xst_model_options options = Defaults();
  options.device = "gpu";
  EXPECT_EQ(xst_model_open(path.c_str(), &options, &model), XST_INVALID_ARGUMENT);
  EXPECT_NE(std::string(xst_last_error()).find("gpu"), std::string::npos);
  options = Defaults();
  options.isa = "mmx";
  EXPECT_EQ(xst_model_open(path.c_str(), &options, &model), XST_NO_INSTRUCTION_SET);
  options = Defaults();
  options.arithmetic = 7;
  EXPECT_EQ(xst_model_open(path.c_str(), &options, &model), XST_INVALID_ARGUMENT);
  options.struct_bytes = 3;
  EXPECT_EQ(xst_model_open(path.c_str(), &options, &model), XST_INVALID_ARGUMENT);
  options = Defaults();
  options.device = "cuda:4000";
  EXPECT_EQ(xst_model_open(path.c_str(), &options, &model), XST_NO_DEVICE);
  EXPECT_EQ(model, nullptr);
}

TEST(CSession, LivesInTheCallersMemory) {
  for (const char* device : {"cpu", "reference"}) {
    const ModelPtr model = Open("block_stack/odd_sizes", device);
    const xst_model_info info = Info(model.get());
    const SessionPtr normal = MakeSession(model.get());
    const auto want = Steps(normal.get(), info, 0, 20);
    for (size_t offset : {0, 1, 8, 63}) {
      std::vector<unsigned char> memory(info.session_bytes + offset + 64, 0xee);
      xst_session* session = nullptr;
      EXPECT_EQ(xst_session_create_in(model.get(), memory.data() + offset, info.session_bytes - 1,
                                      &session),
                XST_SHAPE_MISMATCH);
      EXPECT_EQ(session, nullptr);
      ASSERT_EQ(
          xst_session_create_in(model.get(), memory.data() + offset, info.session_bytes, &session),
          XST_OK);
      EXPECT_EQ(Steps(session, info, 0, 20), want);
      for (size_t i = 0; i < 64; ++i) {  // neither before nor behind
        if (i < offset) {
          EXPECT_EQ(memory[i], 0xee);
        }
        EXPECT_EQ(memory[offset + info.session_bytes + i], 0xee) << i;
      }
      xst_session_destroy(session);
    }
  }
}

TEST(CSession, OutlivesItsModel) {
  ModelPtr model = Open("block_stack/odd_sizes");
  const xst_model_info info = Info(model.get());
  const SessionPtr session = MakeSession(model.get()), other = MakeSession(model.get());
  const auto want = Steps(other.get(), info, 0, 5);
  model.reset();
  EXPECT_EQ(Steps(session.get(), info, 0, 5), want);
  xst_session* clone = nullptr;
  ASSERT_EQ(xst_session_clone(session.get(), &clone), XST_OK);
  const SessionPtr cloned(clone);
  EXPECT_EQ(Steps(clone, info, 5, 5), Steps(session.get(), info, 5, 5));
}

TEST(CSession, SavesLoadsResets) {
  const ModelPtr model = Open("stream/forecaster"), other = Open("block_stack/odd_sizes");
  const xst_model_info info = Info(model.get());
  const SessionPtr a = MakeSession(model.get()), b = MakeSession(model.get());
  const SessionPtr foreign = MakeSession(other.get());
  Steps(a.get(), info, 0, 30);
  EXPECT_EQ(xst_session_quality(a.get()) & XST_QUALITY_RESET, 0u);
  const auto snapshot = Save(a.get(), info);
  ASSERT_EQ(xst_session_load(b.get(), snapshot.data(), snapshot.size(), 0), XST_OK);
  EXPECT_EQ(xst_session_steps(b.get()), 30u);
  EXPECT_EQ(Steps(a.get(), info, 30, 20), Steps(b.get(), info, 30, 20));

  // Every refusal leaves the stream as it was.
  const auto before = Save(foreign.get(), Info(other.get()));
  EXPECT_EQ(xst_session_load(foreign.get(), snapshot.data(), snapshot.size(), 0), XST_OTHER_MODEL);
  EXPECT_EQ(xst_session_load(foreign.get(), snapshot.data(), snapshot.size(), 2),
            XST_INVALID_ARGUMENT);
  EXPECT_EQ(xst_session_load(foreign.get(), snapshot.data(), 10, 0), XST_TRUNCATED);
  auto broken = before;
  broken[broken.size() / 2] ^= std::byte{4};
  EXPECT_EQ(xst_session_load(foreign.get(), broken.data(), broken.size(), 0), XST_CORRUPT);
  EXPECT_NE(std::string(xst_last_error()).find("snapshot"), std::string::npos);
  EXPECT_EQ(Save(foreign.get(), Info(other.get())), before);
  std::vector<std::byte> small(info.snapshot_bytes - 1);
  EXPECT_EQ(xst_session_save(a.get(), small.data(), small.size()), XST_SHAPE_MISMATCH);

  ASSERT_EQ(xst_session_reset(a.get()), XST_OK);
  EXPECT_EQ(xst_session_steps(a.get()), 0u);
  const SessionPtr fresh = MakeSession(model.get());
  Steps(a.get(), info, 0, 5);
  Steps(fresh.get(), info, 0, 5);
  EXPECT_EQ(Save(a.get(), info), Save(fresh.get(), info));
}

TEST(CSession, SaysWhatWasWrong) {
  const ModelPtr model = Open("block_stack/odd_sizes"), tokens = Open("block_stack/lm_tied");
  const xst_model_info info = Info(model.get()), lm = Info(tokens.get());
  const SessionPtr session = MakeSession(model.get()), reader = MakeSession(tokens.get());
  std::vector<float> in = Sample(info.input_width, 0), out(info.output_width);
  std::vector<float> logits(lm.output_width);
  float* const y = out.data();
  const auto before = Save(session.get(), info);
  struct {
    xst_status got, want;
    std::string said, part;
  } calls[] = {
      {xst_session_step(session.get(), in.data(), in.size() - 1, y, out.size()), XST_SHAPE_MISMATCH,
       xst_last_error(),
       "in_count: expected " + std::to_string(in.size()) + ", got " +
           std::to_string(in.size() - 1)},
      {xst_session_step(session.get(), in.data(), in.size(), y, out.size() + 1), XST_SHAPE_MISMATCH,
       xst_last_error(), "out_count: expected " + std::to_string(out.size())},
      {xst_session_step_token(session.get(), 0, y, out.size()), XST_SHAPE_MISMATCH,
       xst_last_error(), "in: expected samples, got tokens"},
      {xst_session_step(reader.get(), in.data(), 1, logits.data(), logits.size()),
       XST_SHAPE_MISMATCH, xst_last_error(), "in: expected tokens, got samples"},
      {xst_session_step_token(reader.get(), lm.output_width, logits.data(), logits.size()),
       XST_INVALID_ARGUMENT, xst_last_error(), "token"},
      {xst_session_step_token(reader.get(), -1, logits.data(), logits.size()), XST_INVALID_ARGUMENT,
       xst_last_error(), "token"},
      {xst_session_forward(session.get(), in.data(), in.size(), y, 0), XST_SHAPE_MISMATCH,
       xst_last_error(), "out_count"},
      {xst_session_forward(session.get(), in.data(), in.size() + 1, y, out.size()),
       XST_SHAPE_MISMATCH, xst_last_error(), "in_count"},
  };
  for (const auto& call : calls) {
    EXPECT_EQ(call.got, call.want) << call.part;
    EXPECT_NE(call.said.find(call.part), std::string::npos) << call.said;
  }
  EXPECT_EQ(Save(session.get(), info), before);
  EXPECT_EQ(xst_session_steps(reader.get()), 0u);
  EXPECT_EQ(xst_session_forward(session.get(), nullptr, 0, nullptr, 0), XST_OK);

  std::vector<float> both(info.input_width + info.output_width);
  EXPECT_EQ(xst_session_forward(session.get(), both.data(), info.input_width, both.data(),
                                info.output_width),
            XST_INVALID_ARGUMENT);
  EXPECT_EQ(std::string(xst_last_error()), "in and out: expected apart, got overlapping");

  in[0] = NAN;
  EXPECT_EQ(xst_session_step(session.get(), in.data(), in.size(), y, out.size()), XST_HELD);
  EXPECT_EQ(xst_session_quality(session.get()) & XST_QUALITY_HELD, unsigned{XST_QUALITY_HELD});
}

}  // namespace
}  // namespace xst
