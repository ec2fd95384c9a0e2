// The C interface as a caller holds it: what it computes, and every misuse it must survive.
#include <gtest/gtest.h>

#include <unistd.h>

#include <cmath>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <iterator>
#include <memory>
#include <string>
#include <vector>

#include "bindings/c/xst.h"
#include "sdk/forecast.h"
#include "sdk/probe.h"
#include "tests/support/vectors.h"

namespace xst {
namespace {

template <auto kDestroy>
struct Destroy {
  template <class T>
  void operator()(T* object) const {
    kDestroy(object);
  }
};
using ModelPtr = std::unique_ptr<xst_model, Destroy<xst_model_destroy>>;
using SessionPtr = std::unique_ptr<xst_session, Destroy<xst_session_destroy>>;
using LanesPtr = std::unique_ptr<xst_lanes, Destroy<xst_lanes_destroy>>;
using ForecasterPtr = std::unique_ptr<xst_forecaster, Destroy<xst_forecaster_destroy>>;

xst_model_options Defaults() {
  xst_model_options options = {};
  options.struct_bytes = sizeof options;
  return options;
}

ModelPtr Open(const std::string& name, const char* device = nullptr) {
  xst_model_options options = Defaults();
  options.device = device;
  xst_model* model = nullptr;
  EXPECT_EQ(xst_model_open(test::PackedCase(name).c_str(), &options, &model), XST_OK)
      << xst_last_error();
  return ModelPtr(model);
}

SessionPtr MakeSession(const xst_model* model) {
  xst_session* session = nullptr;
  EXPECT_EQ(xst_session_create(model, &session), XST_OK) << xst_last_error();
  return SessionPtr(session);
}

xst_model_info Info(const xst_model* model) {
  xst_model_info info = {};
  info.struct_bytes = sizeof info;
  EXPECT_EQ(xst_model_get_info(model, &info), XST_OK);
  return info;
}

std::vector<float> Sample(uint32_t width, uint32_t t) {
  std::vector<float> x(width);
  for (uint32_t i = 0; i < width; ++i) x[i] = static_cast<float>((t * 31 + i * 17) % 23) / 8 - 1;
  return x;
}

std::vector<float> Steps(xst_session* session, const xst_model_info& info, uint32_t first,
                         uint32_t count) {
  std::vector<float> all(size_t{count} * info.output_width);
  for (uint32_t t = 0; t < count; ++t) {
    float* out = all.data() + size_t{t} * info.output_width;
    const std::vector<float> in = Sample(info.input_width, first + t);
    const xst_status s =
        info.tokens ? xst_session_step_token(session, (first + t) % info.output_width, out,
                                             info.output_width)
                    : xst_session_step(session, in.data(), in.size(), out, info.output_width);
    EXPECT_EQ(s, XST_OK) << xst_last_error();
  }
  return all;
}

std::vector<std::byte> Save(const xst_session* session, const xst_model_info& info) {
  std::vector<std::byte> bytes(info.snapshot_bytes);
  EXPECT_EQ(xst_session_save(session, bytes.data(), bytes.size()), XST_OK) << xst_last_error();
  return bytes;
}

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
  EXPECT_EQ(std::string(xst_last_error()), "info.struct_bytes: expected at least 8, got 0");
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

TEST(CApi, NullIsAnErrorEverywhere) {
  const ModelPtr model = Open("block_stack/odd_sizes"), tirex = Open("tirex/01_small");
  const SessionPtr session = MakeSession(model.get());
  xst_lanes* made = nullptr;
  ASSERT_EQ(xst_lanes_create(model.get(), 2, &made), XST_OK);
  const LanesPtr lanes(made);
  xst_forecaster* new_forecaster = nullptr;
  ASSERT_EQ(xst_forecaster_create(tirex.get(), &new_forecaster), XST_OK);
  const ForecasterPtr forecaster(new_forecaster);
  xst_model* m = nullptr;
  xst_session* s = nullptr;
  xst_lanes* l = nullptr;
  xst_forecaster* f = nullptr;
  xst_model_info info = {};
  info.struct_bytes = sizeof info;
  xst_probe_result probe = {};
  float x[64] = {};
  int64_t ids[2] = {};
  uint8_t mask[2] = {};
  uint32_t lane;
  const xst_status all[] = {xst_model_open(nullptr, nullptr, &m),
                            xst_model_open("x", nullptr, nullptr),
                            xst_model_open_memory(nullptr, 1, nullptr, &m),
                            xst_model_open_memory(x, 1, nullptr, nullptr),
                            xst_model_get_info(nullptr, &info),
                            xst_model_get_info(model.get(), nullptr),
                            xst_model_verify(nullptr, &probe),
                            xst_model_verify(model.get(), nullptr),
                            xst_session_create(nullptr, &s),
                            xst_session_create(model.get(), nullptr),
                            xst_session_create_in(nullptr, x, sizeof x, &s),
                            xst_session_create_in(model.get(), nullptr, 1 << 20, &s),
                            xst_session_create_in(model.get(), x, sizeof x, nullptr),
                            xst_session_step(nullptr, x, 1, x, 1),
                            xst_session_step(session.get(), nullptr, 1, x, 1),
                            xst_session_step(session.get(), x, 1, nullptr, 1),
                            xst_session_step_token(nullptr, 0, x, 1),
                            xst_session_step_token(session.get(), 0, nullptr, 1),
                            xst_session_forward(nullptr, x, 1, x, 1),
                            xst_session_forward(session.get(), nullptr, 1, x, 1),
                            xst_session_forward(session.get(), x, 1, nullptr, 1),
                            xst_session_forward_tokens(nullptr, ids, 1, x, 1),
                            xst_session_forward_tokens(session.get(), nullptr, 1, x, 1),
                            xst_session_reset(nullptr),
                            xst_session_save(nullptr, x, 1),
                            xst_session_save(session.get(), nullptr, 1),
                            xst_session_load(nullptr, x, 1, 0),
                            xst_session_load(session.get(), nullptr, 1, 0),
                            xst_session_clone(nullptr, &s),
                            xst_session_clone(session.get(), nullptr),
                            xst_lanes_create(nullptr, 1, &l),
                            xst_lanes_create(model.get(), 1, nullptr),
                            xst_lanes_create(model.get(), 0, &l),
                            xst_lanes_attach(nullptr, &lane),
                            xst_lanes_attach(lanes.get(), nullptr),
                            xst_lanes_detach(nullptr, 0),
                            xst_lanes_step(nullptr, mask, 2, x, 2, x, 2),
                            xst_lanes_step(lanes.get(), nullptr, 2, x, 2, x, 2),
                            xst_lanes_step(lanes.get(), mask, 2, nullptr, 2, x, 2),
                            xst_lanes_step(lanes.get(), mask, 2, x, 2, nullptr, 2),
                            xst_lanes_forward(nullptr, mask, 2, x, 2, x, 2),
                            xst_lanes_forward(lanes.get(), mask, 2, nullptr, 2, x, 2),
                            xst_lanes_forward_tokens(nullptr, mask, 2, ids, 2, x, 2),
                            xst_lanes_forward_tokens(lanes.get(), mask, 2, ids, 2, nullptr, 2),
                            xst_lanes_step_tokens(nullptr, mask, 2, ids, 2, x, 2),
                            xst_lanes_step_tokens(lanes.get(), mask, 2, nullptr, 2, x, 2),
                            xst_lanes_reset(nullptr, 0),
                            xst_lanes_save(nullptr, 0, x, 1),
                            xst_lanes_save(lanes.get(), 0, nullptr, 1),
                            xst_lanes_load(nullptr, 0, x, 1, 0),
                            xst_lanes_load(lanes.get(), 0, nullptr, 1, 0),
                            xst_forecaster_create(nullptr, &f),
                            xst_forecaster_create(tirex.get(), nullptr),
                            xst_forecaster_create(model.get(), &f),  // another family
                            xst_forecaster_forecast(nullptr, x, 1, 1, 1, x, 1),
                            xst_forecaster_forecast(forecaster.get(), nullptr, 1, 1, 1, x, 1),
                            xst_forecaster_forecast(forecaster.get(), x, 1, 1, 1, nullptr, 1),
                            xst_forecaster_push(nullptr, 0),
                            xst_forecaster_forecast_live(nullptr, x, 1),
                            xst_forecaster_forecast_live(forecaster.get(), nullptr, 1),
                            xst_forecaster_reset(nullptr),
                            xst_forecaster_save(nullptr, x, 1),
                            xst_forecaster_save(forecaster.get(), nullptr, 1),
                            xst_forecaster_load(nullptr, x, 1, 0),
                            xst_forecaster_load(forecaster.get(), nullptr, 1, 0)};
  for (size_t i = 0; i < std::size(all); ++i) EXPECT_EQ(all[i], XST_INVALID_ARGUMENT) << i;
  EXPECT_TRUE(!m && !s && !l && !f);
  EXPECT_EQ(xst_session_quality(nullptr), 0u);
  EXPECT_EQ(xst_session_steps(nullptr), 0u);
  EXPECT_EQ(xst_lanes_quality(nullptr, 0) + xst_lanes_steps(nullptr, 0), 0u);
  EXPECT_EQ(xst_forecaster_quantiles(nullptr) + xst_forecaster_context(nullptr) +
                xst_forecaster_horizon(nullptr) + xst_forecaster_due(nullptr) +
                xst_forecaster_snapshot_bytes(nullptr),
            0u);
  EXPECT_EQ(xst_model_input_name(nullptr, 0), nullptr);
  xst_model_destroy(nullptr);
  xst_session_destroy(nullptr);
  xst_lanes_destroy(nullptr);
  xst_forecaster_destroy(nullptr);
}

TEST(CApi, VersionAndStatuses) {
  const std::string version = std::to_string(XST_VERSION_MAJOR) + "." +
                              std::to_string(XST_VERSION_MINOR) + "." +
                              std::to_string(XST_VERSION_PATCH);
  EXPECT_EQ(version, xst_version_string());  // the project's
  EXPECT_EQ(xst_version(), 1000u);
  for (int s = -2; s < 400; ++s) EXPECT_NE(std::string(xst_status_string(s)), "");
  EXPECT_STREQ(xst_status_string(XST_OTHER_MODEL), Describe(Status::other_model));
}

TEST(CApi, Logs) {
  struct Line {
    int32_t level;
    std::string text;
  };
  std::vector<Line> lines;
  xst_log_set(
      [](void* user, int32_t level, const char* message) {
        static_cast<std::vector<Line>*>(user)->push_back({level, message});
      },
      &lines);
  const ModelPtr model = Open("block_stack/odd_sizes");
  xst_model* none = nullptr;
  EXPECT_EQ(xst_model_open("/no/such.xst", nullptr, &none), XST_NOT_FOUND);
  const SessionPtr session = MakeSession(model.get());
  EXPECT_EQ(xst_session_load(session.get(), &none, 1, 0), XST_TRUNCATED);
  float x = 0;
  EXPECT_EQ(xst_session_step(session.get(), &x, 0, &x, 1), XST_SHAPE_MISMATCH);  // not logged
  xst_log_set(nullptr, nullptr);
  Open("block_stack/odd_sizes");
  ASSERT_EQ(lines.size(), 3u);
  EXPECT_EQ(lines[0].level, XST_LOG_INFO);
  EXPECT_NE(lines[0].text.find("opened on cpu"), std::string::npos);
  EXPECT_EQ(lines[1].level, XST_LOG_ERROR);
  EXPECT_NE(lines[1].text.find("/no/such.xst"), std::string::npos);
  EXPECT_NE(lines[2].text.find("snapshot"), std::string::npos);
}

TEST(CLanes, AreAsSessions) {
  const ModelPtr model = Open("stream/forecaster");
  const xst_model_info info = Info(model.get());
  constexpr uint32_t kLanes = 3;
  xst_lanes* made = nullptr;
  ASSERT_EQ(xst_lanes_create(model.get(), kLanes, &made), XST_OK);
  const LanesPtr lanes(made);
  std::vector<SessionPtr> sessions;
  for (uint32_t i = 0; i < kLanes; ++i) {
    uint32_t lane = 99;
    ASSERT_EQ(xst_lanes_attach(made, &lane), XST_OK);
    EXPECT_EQ(lane, i);
    sessions.push_back(MakeSession(model.get()));
  }
  uint32_t lane = 99;
  EXPECT_EQ(xst_lanes_attach(made, &lane), XST_INVALID_ARGUMENT);
  EXPECT_NE(std::string(xst_last_error()).find("lane"), std::string::npos);
  std::vector<float> in(kLanes * info.input_width), out(kLanes * info.output_width);
  for (uint32_t t = 0; t < 12; ++t) {
    uint8_t mask[kLanes] = {1, static_cast<uint8_t>(t % 2), 1};
    for (uint32_t i = 0; i < kLanes; ++i) {
      const auto x = Sample(info.input_width, t + 100 * i);
      std::copy(x.begin(), x.end(), in.begin() + i * info.input_width);
    }
    ASSERT_EQ(xst_lanes_step(made, mask, kLanes, in.data(), in.size(), out.data(), out.size()),
              XST_OK);
    for (uint32_t i = 0; i < kLanes; ++i) {
      if (!mask[i]) continue;
      const auto want = Steps(sessions[i].get(), info, t + 100 * i, 1);
      for (uint32_t j = 0; j < want.size(); ++j) {
        const float got = out[i * info.output_width + j];
        EXPECT_TRUE(got == want[j] || (std::isnan(got) && std::isnan(want[j])));
      }
    }
  }
  EXPECT_EQ(xst_lanes_steps(made, 1), 6u);
  const uint8_t all[kLanes] = {1, 1, 1};
  std::vector<float> long_in(kLanes * 4 * info.input_width, 0.5f);
  std::vector<float> long_out(kLanes * 4 * info.output_width, NAN);
  ASSERT_EQ(xst_lanes_forward(made, all, kLanes, long_in.data(), long_in.size(), long_out.data(),
                              long_out.size()),
            XST_OK);
  EXPECT_EQ(xst_lanes_steps(made, 1), 10u);
  EXPECT_TRUE(std::isfinite(long_out[0]));
  EXPECT_EQ(xst_lanes_forward(made, all, 1, long_in.data(), long_in.size(), long_out.data(),
                              long_out.size()),
            XST_SHAPE_MISMATCH);
  for (uint32_t i = 0; i < kLanes; ++i) {
    std::vector<float> rows(4 * info.output_width);
    ASSERT_EQ(xst_session_forward(sessions[i].get(), long_in.data(), 4 * info.input_width,
                                  rows.data(), rows.size()),
              XST_OK);
  }
  std::vector<std::byte> bytes(info.snapshot_bytes);
  ASSERT_EQ(xst_lanes_save(made, 1, bytes.data(), bytes.size()), XST_OK);
  EXPECT_EQ(bytes, Save(sessions[1].get(), info));
  ASSERT_EQ(xst_lanes_load(made, 2, bytes.data(), bytes.size(), 0), XST_OK);
  EXPECT_EQ(xst_lanes_steps(made, 2), 10u);
  ASSERT_EQ(xst_lanes_reset(made, 2), XST_OK);
  EXPECT_EQ(xst_lanes_steps(made, 2), 0u);
  ASSERT_EQ(xst_lanes_detach(made, 1), XST_OK);
  for (const uint32_t gone : {1u, 99u}) {
    EXPECT_EQ(xst_lanes_detach(made, gone), XST_INVALID_ARGUMENT);
    EXPECT_EQ(xst_lanes_reset(made, gone), XST_INVALID_ARGUMENT);
    EXPECT_EQ(xst_last_error(), "lane: expected one that is attached, got " + std::to_string(gone));
  }
  const uint8_t mask[kLanes] = {0, 1, 0};
  EXPECT_EQ(xst_lanes_step(made, mask, kLanes, in.data(), in.size(), out.data(), out.size()),
            XST_INVALID_ARGUMENT);
  EXPECT_EQ(xst_lanes_step(made, mask, 2, in.data(), in.size(), out.data(), out.size()),
            XST_SHAPE_MISMATCH);
  EXPECT_EQ(xst_lanes_save(made, 1, bytes.data(), bytes.size()), XST_INVALID_ARGUMENT);
  EXPECT_EQ(xst_lanes_load(made, 7, bytes.data(), bytes.size(), 0), XST_INVALID_ARGUMENT);
}

TEST(CForecaster, ForecastsASeriesAndALiveStream) {
  const ModelPtr model = Open("tirex/01_small");
  xst_forecaster *a = nullptr, *b = nullptr;
  ASSERT_EQ(xst_forecaster_create(model.get(), &a), XST_OK);
  ASSERT_EQ(xst_forecaster_create(model.get(), &b), XST_OK);
  const ForecasterPtr one(a), two(b);
  const uint32_t quantiles = xst_forecaster_quantiles(a), horizon = xst_forecaster_horizon(a);
  ASSERT_GT(quantiles * horizon, 0u);
  std::vector<float> series(xst_forecaster_context(a) + 5), live(horizon * quantiles), want(live);
  for (size_t t = 0; t < series.size(); ++t) {
    series[t] = t == 20 ? NAN : std::sin(static_cast<float>(t) / 5);
    ASSERT_EQ(xst_forecaster_push(a, series[t]), XST_OK);
  }
  ASSERT_EQ(xst_forecaster_forecast_live(a, live.data(), live.size()), XST_OK) << xst_last_error();
  Forecaster same(test::OpenCase("tirex/01_small"));
  ASSERT_EQ(same.forecast(series, horizon, same.config().forecast.rollout, want), Status::ok);
  EXPECT_EQ(live, want);
  ASSERT_EQ(xst_forecaster_forecast(b, series.data(), series.size(), horizon,
                                    same.config().forecast.rollout, live.data(), live.size()),
            XST_OK);
  EXPECT_EQ(live, want);
  EXPECT_EQ(xst_forecaster_forecast(b, series.data(), 1, horizon, 1, live.data(), 1),
            XST_SHAPE_MISMATCH);
  EXPECT_EQ(xst_forecaster_forecast(b, series.data(), 1, 0, 1, live.data(), 0),
            XST_INVALID_ARGUMENT);
  EXPECT_EQ(std::string(xst_last_error()), "horizon: expected at least 1, got 0");
  std::vector<std::byte> bytes(xst_forecaster_snapshot_bytes(a));
  ASSERT_EQ(xst_forecaster_save(a, bytes.data(), bytes.size()), XST_OK);
  ASSERT_EQ(xst_forecaster_load(b, bytes.data(), bytes.size(), 0), XST_OK);
  ASSERT_EQ(xst_forecaster_forecast_live(b, live.data(), live.size()), XST_OK);
  EXPECT_EQ(live, want);
  EXPECT_EQ(xst_forecaster_due(a), xst_forecaster_due(b));
  ASSERT_EQ(xst_forecaster_reset(b), XST_OK);
  EXPECT_EQ(xst_forecaster_load(b, bytes.data(), 8, 0), XST_TRUNCATED);
}

}  // namespace
}  // namespace xst
