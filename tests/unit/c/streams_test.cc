// The C interface as a caller holds it: null everywhere, the log, lanes and forecasters.
#include <gtest/gtest.h>

#include <cmath>

#include "sdk/forecast.h"
#include "tests/unit/c/objects.h"

namespace xst {
namespace {

using namespace test;  // NOLINT: this file is about those objects

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
