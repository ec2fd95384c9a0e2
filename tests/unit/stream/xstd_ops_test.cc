// How the daemon is watched: watchdog, notification, live history, status, metrics, log, settings.
#include <gtest/gtest.h>
#include <spdlog/spdlog.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmath>
#include <cstdlib>
#include <limits>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "apps/xstd/config.h"
#include "apps/xstd/live_sink.h"
#include "apps/xstd/log.h"
#include "apps/xstd/service.h"
#include "apps/xstd/status_text.h"
#include "tests/support/vectors.h"

namespace xstd {
namespace {

TEST(StepWatch, FedWhileStepsMoveOrNothingWaits) {
  StepWatch watch;
  EXPECT_TRUE(watch.Alive({}));
  EXPECT_TRUE(watch.Alive({{"a", 0, false}}));
  EXPECT_TRUE(watch.Alive({{"a", 0, false}}));  // nothing to do
  EXPECT_FALSE(watch.Alive({{"a", 0, true}}));  // waits, and not a step since
  EXPECT_FALSE(watch.Alive({{"a", 0, true}}));
  EXPECT_TRUE(watch.Alive({{"a", 1, true}}));
  EXPECT_FALSE(watch.Alive({{"a", 1, true}}));
  EXPECT_TRUE(watch.Alive({{"a", 1, false}}));
}

TEST(StepWatch, OneStreamThatHangsIsEnough) {
  StepWatch watch;
  EXPECT_TRUE(watch.Alive({{"a", 5, true}, {"b", 5, true}}));  // first seen
  EXPECT_FALSE(watch.Alive({{"a", 6, true}, {"b", 5, true}}));
  EXPECT_FALSE(watch.Alive({{"a", 7, true}, {"b", 5, true}}));
  EXPECT_TRUE(watch.Alive({{"a", 7, false}, {"b", 6, true}}));
  EXPECT_TRUE(watch.Alive({{"b", 7, true}, {"c", 0, true}}));  // streams come and go
}

class NotifySocket {
 public:
  NotifySocket() {
    char folder[] = "/tmp/xst-notify-XXXXXX";
    folder_ = mkdtemp(folder);
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    path_ = folder_ + "/socket";
    path_.copy(address.sun_path, sizeof(address.sun_path) - 1);
    socket_ = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0);
    EXPECT_EQ(bind(socket_, reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
    setenv("NOTIFY_SOCKET", path_.c_str(), 1);
  }
  ~NotifySocket() {
    close(socket_);
    unlink(path_.c_str());
    rmdir(folder_.c_str());
    for (const char* name : {"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"}) unsetenv(name);
  }
  std::string Next() const {
    char text[256];
    const ssize_t n = recv(socket_, text, sizeof(text), 0);
    return n > 0 ? std::string(text, static_cast<size_t>(n)) : std::string();
  }

 private:
  std::string folder_, path_;
  int socket_;
};

TEST(ServiceManager, SpeaksToTheSocketOfTheEnvironment) {
  const NotifySocket manager;
  setenv("WATCHDOG_USEC", "2000000", 1);
  ServiceManager service;
  ASSERT_TRUE(service.present());
  EXPECT_EQ(service.watchdog(), std::chrono::seconds(2));
  service.Ready();
  EXPECT_EQ(manager.Next(), "READY=1");
  service.Status("one");
  service.Status("one");
  service.Status("two");
  EXPECT_EQ(manager.Next(), "STATUS=one");
  EXPECT_EQ(manager.Next(), "STATUS=two");
  service.Reloading();
  EXPECT_EQ(manager.Next().rfind("RELOADING=1\nMONOTONIC_USEC=", 0), 0u);
  service.FeedWatchdog();
  EXPECT_EQ(manager.Next(), "WATCHDOG=1");
  service.Stopping();
  EXPECT_EQ(manager.Next(), "STOPPING=1");
  for (int i = 0; i < 10000; ++i) service.FeedWatchdog();  // a manager that does not read
}

TEST(ServiceManager, SaysNothingWhereThereIsNone) {
  for (const char* address : {"", "relative", "/no/such/socket"}) {
    setenv("NOTIFY_SOCKET", address, 1);
    ServiceManager service;
    service.Ready();
  }
  unsetenv("NOTIFY_SOCKET");
  EXPECT_FALSE(ServiceManager().present());
}

TEST(ServiceManager, TheWatchdogOfAnotherProcessIsNotOurs) {
  const NotifySocket manager;
  setenv("WATCHDOG_USEC", "2000000", 1);
  setenv("WATCHDOG_PID", "1", 1);
  EXPECT_FALSE(ServiceManager().watchdog());
  setenv("WATCHDOG_PID", std::to_string(getpid()).c_str(), 1);
  EXPECT_TRUE(ServiceManager().watchdog());
  setenv("WATCHDOG_USEC", "soon", 1);
  EXPECT_FALSE(ServiceManager().watchdog());
}

class Live : public testing::Test {
 protected:
  static std::unique_ptr<xst::stream::Stream> Make(const std::string& name) {
    xst::stream::StreamOptions options;
    options.name = name;
    return std::make_unique<xst::stream::Stream>(xst::test::OpenCase("stream/forecaster"), options,
                                                 1);
  }
  void Write(const xst::stream::Stream& stream, uint64_t seq, float x) {
    std::vector<float> y(stream.info().output_width, 2 * x);
    xst::stream::OutputHead head;
    head.seq = seq;
    head.t = static_cast<double>(seq) / 100;
    live_.Write(stream, head, y, std::span(&x, 1));
  }
  LiveSink live_;
  LiveBatch batch_;
  uint64_t cursor_ = 0;
};

TEST_F(Live, GivesPointsOnceAndTheLastRecord) {
  const auto stream = Make("s");
  EXPECT_FALSE(live_.last("s"));
  EXPECT_FALSE(live_.Read("s", &cursor_, &batch_));
  for (uint64_t i = 0; i < 10; ++i) Write(*stream, i, static_cast<float>(i));
  ASSERT_TRUE(live_.Read("s", &cursor_, &batch_));
  ASSERT_EQ(batch_.points.size(), 10u);
  EXPECT_EQ(batch_.channels, 1 + stream->info().output_width);
  EXPECT_EQ(batch_.low[3 * batch_.channels], 3);
  EXPECT_EQ(batch_.high[3 * batch_.channels + 1], 6);
  EXPECT_EQ(live_.last("s")->seq, 9u);
  EXPECT_FALSE(live_.Read("s", &cursor_, &batch_));
  live_.Keep({"other"});
  EXPECT_FALSE(live_.last("s"));
}

// Far more records a second than a picture has points: every one is within its point's range.
TEST_F(Live, ThinsOutWhatIsTooFast) {
  const auto stream = Make("s");
  const uint64_t kRecords = 100000;
  for (uint64_t i = 0; i < kRecords; ++i) Write(*stream, i, i == 77777 ? 1e6f : 1.f);
  uint64_t records = 0, points = 0;
  float highest = 0;
  for (int idle = 0; records < kRecords && idle < 100000; ++idle) {
    live_.Idle();
    while (live_.Read("s", &cursor_, &batch_)) {
      EXPECT_EQ(batch_.lost, 0u);
      for (size_t i = 0; i < batch_.points.size(); ++i) {
        records += batch_.points[i].records;
        highest = std::max(highest, batch_.high[i * batch_.channels]);
        EXPECT_EQ(batch_.low[i * batch_.channels], 1);
      }
      points += batch_.points.size();
    }
    usleep(100);
  }
  EXPECT_EQ(records, kRecords);
  EXPECT_EQ(highest, 1e6f);
  EXPECT_LT(points, kRecords / 2);
}

TEST_F(Live, ASlowReaderFindsPointsLost) {
  const auto stream = Make("s");
  std::set<std::string> many;
  for (int i = 0; i < 4096; ++i) many.insert(std::to_string(i));
  many.insert("s");
  live_.Keep(many);  // a history of a few kilobytes
  Write(*stream, 0, 0);
  ASSERT_TRUE(live_.Read("s", &cursor_, &batch_));
  for (uint64_t i = 1; i < 1500; ++i) Write(*stream, i, 1);
  ASSERT_TRUE(live_.Read("s", &cursor_, &batch_));
  EXPECT_GT(batch_.lost, 0u);
  EXPECT_EQ(batch_.first, 1 + batch_.lost);
}

TEST(Durations, BinsCountsAndQuantiles) {
  xst::stream::Histogram histogram;
  for (int64_t ns : {1, 1000, 1023, 1024, 1300, 1000000}) histogram.Record(ns);
  const Durations d(histogram);
  EXPECT_EQ(d.count, 6u);
  EXPECT_NEAR(d.sum_s, 1004348e-9, 0.02 * 1004348e-9);
  uint64_t below = 0;
  for (uint32_t bin = 0; bin < 4; ++bin) below += d.bins[bin];
  EXPECT_EQ(below, 3u);  // up to 1,024 ns
  EXPECT_EQ(d.bins[4] + d.bins[5], 2u);
  EXPECT_DOUBLE_EQ(Durations::Upper(3), 1024e-9);
  EXPECT_DOUBLE_EQ(d.max_s, 1e-3);
}

TEST(Status, JsonAndMetricsOfAStream) {
  DaemonStatus status;
  status.version = "1.2.3";
  StreamStatus stream;
  stream.name = "ecg";
  stream.model = "/tmp/\"quoted\"\n\xff.xst";
  stream.counts.samples = 12;
  stream.counts.dropped = 3;
  xst::stream::Histogram histogram;
  histogram.Record(5000);
  stream.step = Durations(histogram);
  status.streams.push_back(stream);
  const auto json = nlohmann::json::parse(StatusJson(status, true));
  EXPECT_EQ(json["streams"][0]["counts"]["samples"], 12);
  EXPECT_TRUE(json["streams"][0]["last"].is_null());
  EXPECT_TRUE(json["healthy"]);
  const std::string text = Metrics(status, true, 2);
  for (const char* line :
       {"xstd_build_info{version=\"1.2.3\"} 1", "xstd_stream_samples_total{stream=\"ecg\"} 12",
        "xstd_stream_dropped_total{stream=\"ecg\"} 3", "xstd_viewers 2", "xstd_healthy 1",
        "# TYPE xstd_stream_samples_total counter",
        "xstd_stream_step_seconds_bucket{stream=\"ecg\",le=\"4.096e-06\"} 0",
        "xstd_stream_step_seconds_bucket{stream=\"ecg\",le=\"+Inf\"} 1",
        "xstd_stream_step_seconds_count{stream=\"ecg\"} 1"}) {
    EXPECT_NE(text.find(std::string(line) + "\n"), std::string::npos) << line << "\n" << text;
  }
}

TEST(Status, PointsAreShortJsonWithNullForNaN) {
  LiveBatch batch;
  batch.first = 7;
  batch.channels = 2;
  batch.points = {{1.5, 0, 1}, {1.51, 4, 3}};
  batch.low = {1, 0.123456789f, 2, std::numeric_limits<float>::quiet_NaN()};
  batch.high = {1, 0.123456789f, 3, std::numeric_limits<float>::quiet_NaN()};
  EXPECT_EQ(PointsJson(batch),
            "{\"first\":7,\"lost\":0,\"t0\":1.5,\"dt\":[0,10],\"quality\":[0,4],\"records\":[1,3],"
            "\"low\":[[1,2],[0.12346,null]],\"high\":[[1,3],[0.12346,null]]}");
}

TEST(Log, JsonIsOneObjectALine) {
  testing::internal::CaptureStderr();
  LogConfig config;
  config.format = LogConfig::Format::json;
  config.level = LogConfig::Level::warn;
  SetLog(config);
  SetLogStreams({"ecg"});
  spdlog::info("not at this level");
  spdlog::warn("ecg: a \"quoted\"\nline \xff");
  spdlog::error("other: text");
  Announce("ready publish=x");
  LogFatal("the end");
  SetLog({});
  std::istringstream lines(testing::internal::GetCapturedStderr());
  std::vector<nlohmann::json> got;
  for (std::string line; std::getline(lines, line);) got.push_back(nlohmann::json::parse(line));
  ASSERT_EQ(got.size(), 4u);
  EXPECT_EQ(got[0]["level"], "warning");
  EXPECT_EQ(got[0]["stream"], "ecg");
  EXPECT_EQ(got[0]["message"], "a \"quoted\"\nline \xef\xbf\xbd");
  EXPECT_EQ(got[0]["time"].get<std::string>().size(), 27u);
  EXPECT_EQ(got[1]["message"], "other: text");
  EXPECT_FALSE(got[1].contains("stream"));
  EXPECT_EQ(got[2]["message"], "ready publish=x");
  EXPECT_EQ(got[3]["level"], "error");
}

TEST(Log, TextIsAsItWas) {
  testing::internal::CaptureStderr();
  SetLog({});
  spdlog::warn("ecg: lost");
  LogFatal("the end");
  EXPECT_EQ(testing::internal::GetCapturedStderr(),
            "xstd: warning: ecg: lost\nxstd: error: the end\n");
}

std::string Error(const std::string& settings) {
  try {
    ParseConfig(settings + "\nstreams: [{name: a, model: m, source: {type: stdin}}]", "d.yaml", "");
  } catch (const xst::Error& e) {
    return e.what();
  }
  return "";
}

TEST(OpsConfig, OnlyLoopbackIsServed) {
  for (const char* good :
       {"127.0.0.1:9873", "127.8.9.1:0", "localhost:*", "[::1]:80", "127.0.0.1:*"}) {
    EXPECT_EQ(Error("http: {endpoint: \"" + std::string(good) + "\"}"), "") << good;
  }
  for (const char* bad :
       {"0.0.0.0:80", "*:80", "192.0.2.1:80", "[::]:80", "::1:80", "example.org:80", "127.0.0.1",
        "127.0.0.1:", "127.0.0.1:65536", "127.0.0.1:-1", ":80", "127.0.0.1:80x",
        "127.0.0.1.example.org:80", "tcp://127.0.0.1:80", ""}) {
    const std::string error = Error("http: {endpoint: \"" + std::string(bad) + "\"}");
    EXPECT_EQ(error.rfind("d.yaml:1:18: http.endpoint: expected a loopback address and a port", 0),
              0u)
        << bad << ": " << error;
  }
  EXPECT_NE(Error("http: {}").find("d.yaml:1:7: http.endpoint: expected this key"),
            std::string::npos);
  EXPECT_NE(Error("http: {endpoint: \"127.0.0.1:1\", open: true}")
                .find("d.yaml:1:33: http.open: expected a known key"),
            std::string::npos);
}

TEST(OpsConfig, LogHasTwoFormatsAndFourLevels) {
  EXPECT_EQ(Error("log: {format: json, level: debug}"), "");
  EXPECT_EQ(
      Error("log: {format: xml}").rfind("d.yaml:1:15: log.format: expected one of text, json", 0),
      0u);
  EXPECT_NE(Error("log: {level: loud}").find("d.yaml:1:14: log.level: expected one of"),
            std::string::npos);
  EXPECT_NE(Error("log: json").find("d.yaml:1:6: log: expected a map"), std::string::npos);
}

}  // namespace
}  // namespace xstd
