// xstd on a TiRex model: a forecast every few samples, as `xst forecast` computes it.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <limits>
#include <string>
#include <vector>

#include "formats/npy.h"
#include "formats/pack.h"
#include "tests/e2e/daemon.h"

namespace xst::e2e {
namespace {

namespace fs = std::filesystem;

// The model of tirex/01_small; the quantiles of 24 samples behind every 8th.
constexpr size_t kContext = 64, kEvery = 8, kHorizon = 24, kValues = kHorizon * 9;
constexpr double kRate = 100;
const float kNan = std::numeric_limits<float>::quiet_NaN();
const std::vector<std::string> kWait = {"--wait-subscriber", "60"};

std::vector<std::string> Names() {
  std::vector<std::string> names;
  for (size_t ahead = 1; ahead <= kHorizon; ++ahead) {
    for (int q = 1; q <= 9; ++q) {
      names.push_back("q0." + std::to_string(q) + "+" + std::to_string(ahead));
    }
  }
  return names;
}

std::vector<float> Samples(size_t count) {
  std::vector<float> samples = Signal(count);
  for (size_t i = 11; i < count; i += 29) samples[i] = kNan;
  return samples;
}

class XstdForecast : public testing::Test {
 protected:
  XstdForecast() { formats::PackModel(Case("tirex/01_small"), work_ / "tirex.xst", {}); }

  static std::string Case(const std::string& name) {
    return std::string(XST_TEST_DATA) + "/" + name;
  }

  std::string Config(const std::string& source, const std::string& more = "",
                     const std::string& model = "tirex.xst") {
    return work_.Write("xstd.yaml", "publish: {endpoint: \"tcp://127.0.0.1:*\"}\n" + more +
                                        "streams:\n  - {name: load, model: " + model +
                                        ", source: " + source + "}\n");
  }

  void Recording(const std::vector<float>& samples) {
    std::string text = "t,load\n";
    for (size_t i = 0; i < samples.size(); ++i) {
      char row[64];
      std::snprintf(row, sizeof(row), std::isnan(samples[i]) ? "%.2f,\n" : "%.2f,%.9g\n",
                    static_cast<double>(i) / kRate, static_cast<double>(samples[i]));
      text += row;
    }
    work_.Write("load.csv", text);
  }

  // What `xst forecast` says behind every 8th sample, all in one batch.
  std::vector<std::vector<float>> XstForecast(const std::vector<float>& samples) {
    const size_t count = samples.size() / kEvery;
    std::vector<float> series(count * kContext, kNan);
    for (size_t i = 0; i < count; ++i) {
      const size_t end = (i + 1) * kEvery, kept = std::min(end, kContext);
      std::copy_n(samples.begin() + static_cast<ptrdiff_t>(end - kept), kept,
                  series.begin() + static_cast<ptrdiff_t>((i + 1) * kContext - kept));
    }
    const std::string in = work_ / "x.npy", out = work_ / "y.npy";
    formats::WriteNpy(in, {count, kContext}, series.data());
    const Finished run =
        RunProgram("xst", {"forecast", work_ / "tirex.xst", "--input", in, "--output", out});
    EXPECT_EQ(run.status, 0) << run.err;
    const formats::Array y = formats::ReadNpy(out);
    std::vector<std::vector<float>> rows;
    for (size_t i = 0; i < count; ++i) {
      const auto begin = y.f32.begin() + static_cast<ptrdiff_t>(i * kValues);
      rows.emplace_back(begin, begin + kValues);
    }
    return rows;
  }

  // Messages begin..: forecasts `begin`, `begin + 1`, … of `samples`.
  void ExpectForecasts(const std::vector<Message>& messages, const std::vector<float>& samples,
                       size_t begin = 0) {
    const auto want = XstForecast(samples);
    const auto names = Names();
    ASSERT_EQ(messages.size(), want.size() - begin);
    for (size_t i = 0; i < messages.size(); ++i) {
      const auto& json = messages[i].json;
      ASSERT_EQ(messages[i].topic, "load/");
      ASSERT_TRUE(json.is_object()) << messages[i].payload;
      ASSERT_EQ(json["seq"], begin + i);
      ASSERT_EQ(json["epoch"], messages[0].json["epoch"]);
      ASSERT_TRUE(SameValues(messages[i], names, want[begin + i])) << messages[i].payload;
      const size_t last = (begin + i + 1) * kEvery - 1;  // the sample that completed it
      EXPECT_EQ(json["timestamp"].get<double>(), static_cast<double>(last) / kRate);
      EXPECT_EQ(json["x"]["x0"].is_null(), std::isnan(samples[last]));
      EXPECT_EQ(json["quality"].get<int>(), begin + i == 0 ? 32 : 0);
    }
  }

  Finished CheckConfig(const std::string& model) {
    const std::string config = Config("{type: stdin}", "", model);
    return RunProgram("xstd", {"--config", config, "--check-config"});
  }

  Workspace work_;
  zmq::context_t context_;
};

TEST_F(XstdForecast, ReplaysARecording) {
  const auto samples = Samples(203);
  Recording(samples);
  Daemon daemon(Config("{type: replay, file: load.csv, speed: 0}"),
                {"--wait-subscriber", "60", "--summary", work_ / "summary.json"});
  ASSERT_TRUE(daemon.Ready()) << daemon.err();
  Subscriber subscriber(context_, daemon.endpoint("publish"));
  ExpectForecasts(subscriber.Get(25), samples);
  EXPECT_EQ(daemon.Wait(), 0) << daemon.err();
  std::ifstream file(work_ / "summary.json");
  const auto summary = nlohmann::json::parse(file)["streams"][0];
  EXPECT_EQ(summary["samples"], 203);
  EXPECT_EQ(summary["outputs"], 25);
  EXPECT_EQ(summary["held"], 0);
  EXPECT_EQ(summary["late"], 0);
}

TEST_F(XstdForecast, TakesPushedSamples) {
  const auto samples = Samples(100);
  Daemon daemon(Config("{type: pull, endpoint: \"tcp://127.0.0.1:*\"}"), kWait);
  ASSERT_TRUE(daemon.Ready()) << daemon.err();
  Subscriber subscriber(context_, daemon.endpoint("publish"));
  auto push = Pusher(context_, daemon.endpoint("load"));
  for (size_t i = 0; i < samples.size(); ++i) Push(push, JsonSample(i, samples[i], kRate));
  ExpectForecasts(subscriber.Get(12), samples);
  EXPECT_EQ(daemon.Stop(), 0) << daemon.err();
}

TEST_F(XstdForecast, StoppedAndResumedLosesNothing) {
  const auto samples = Samples(600);
  Recording(samples);
  const std::string config =
      Config("{type: replay, file: load.csv, speed: 5}", "state_dir: state\n");
  std::vector<Message> all;
  for (int run = 0; all.size() < 75; ++run) {
    ASSERT_LT(run, 20);
    Daemon daemon(config, kWait);
    ASSERT_TRUE(daemon.Ready()) << daemon.err();
    Subscriber subscriber(context_, daemon.endpoint("publish"));
    if (run < 3) {
      subscriber.Get(5 + 3 * static_cast<size_t>(run));
      EXPECT_EQ(daemon.Stop(), 0) << daemon.err();
    } else {
      EXPECT_EQ(daemon.Wait(), 0) << daemon.err();
    }
    for (const Message& m : subscriber.Get(75, 500)) all.push_back(m);
  }
  ExpectForecasts(all, samples);
}

TEST_F(XstdForecast, KilledItGoesOnWithTheSameRecords) {
  const auto samples = Samples(3000);
  Recording(samples);
  std::vector<Message> before;
  {
    Daemon daemon(Config("{type: replay, file: load.csv, speed: 5}", "state_dir: state\n"),
                  {"--wait-subscriber", "60", "--snapshot-every", "0.1"});
    ASSERT_TRUE(daemon.Ready()) << daemon.err();
    Subscriber subscriber(context_, daemon.endpoint("publish"));
    // Both slots: a snapshot behind the first, of before the start, is written.
    const std::string a = work_ / "state/load.a", b = work_ / "state/load.b";
    for (size_t n = 1; !fs::exists(b) || fs::file_size(b) != fs::file_size(a); ++n) {
      ASSERT_GE(subscriber.Get(n).size(), n) << "the recording ended before two snapshots";
    }
    daemon.Signal(SIGKILL);
    EXPECT_EQ(daemon.Wait(), 128 + SIGKILL);
    before = subscriber.Get(375, 300);
  }
  Daemon daemon(Config("{type: replay, file: load.csv, speed: 0}", "state_dir: state\n"), kWait);
  ASSERT_TRUE(daemon.Ready()) << daemon.err();
  Subscriber subscriber(context_, daemon.endpoint("publish"));
  EXPECT_EQ(daemon.Wait(), 0) << daemon.err();
  const auto after = subscriber.Get(375, 500);
  ASSERT_FALSE(after.empty());
  // It starts at or before the end of the first run and repeats exactly what it repeats.
  const size_t first = after[0].json["seq"].get<size_t>();
  ASSERT_GT(first, 0u);
  ASSERT_LE(first, before.size());
  ExpectForecasts(after, samples, first);
  EXPECT_EQ(after[0].json["epoch"], before[0].json["epoch"]);
  ExpectForecasts(
      before, {samples.begin(), samples.begin() + static_cast<ptrdiff_t>(before.size() * kEvery)});
}

TEST_F(XstdForecast, CheckConfigKnowsWhatCannotWork) {
  EXPECT_EQ(CheckConfig("tirex.xst").status, 0);
  formats::PackModel(Case("block_stack/lm_tied"), work_ / "lm.xst", {});
  formats::PackModel(Case("large/01_single_defaults"), work_ / "large.xst", {});
  for (const char* model : {"lm.xst", "large.xst"}) {
    const Finished check = CheckConfig(model);
    EXPECT_EQ(check.status, 1);
    EXPECT_NE(check.err.find("stream load: model: expected"), std::string::npos) << check.err;
    EXPECT_NE(check.err.find("got a model of tokens"), std::string::npos) << check.err;
  }

  fs::create_directory(work_ / "far");
  fs::copy(Case("tirex/01_small") + "/weights.safetensors", work_ / "far/weights.safetensors");
  std::ifstream file(Case("tirex/01_small") + "/config.yaml");
  std::string yaml{std::istreambuf_iterator<char>(file), {}};
  yaml.replace(yaml.find("prediction_length: 24"), 21, "prediction_length: 1000");
  work_.Write("far/config.yaml", yaml);
  formats::PackModel(work_ / "far", work_ / "far.xst", {});
  const Finished check = CheckConfig("far.xst");
  EXPECT_EQ(check.status, 1);
  EXPECT_NE(check.err.find("stream load: forecast.horizon: expected at most 4096"),
            std::string::npos)
      << check.err;

  // Nothing else can pace a recording of a model without a rate.
  work_.Write("bare.csv", "load\n1\n2\n");
  const std::string paced = Config("{type: replay, file: bare.csv, speed: 1}");
  const Finished pace = RunProgram("xstd", {"--config", paced, "--check-config"});
  EXPECT_EQ(pace.status, 1);
  EXPECT_NE(pace.err.find("speed"), std::string::npos) << pace.err;
}

}  // namespace
}  // namespace xst::e2e
