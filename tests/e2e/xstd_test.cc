// xstd from its sources to a subscriber: every sample once, in order, as `xst run` computes it.
#include <gtest/gtest.h>

#include <cmath>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <limits>
#include <set>
#include <string>
#include <vector>

#include "tests/e2e/daemon.h"

namespace xst::e2e {
namespace {

namespace fs = std::filesystem;
constexpr double kRate = 100;
const float kNan = std::numeric_limits<float>::quiet_NaN();
const std::vector<std::string> kNames = {"next",        "next.sigma", "ahead",
                                         "ahead.sigma", "surprise",   "beat"};
// Sources start once the test listens.
const std::vector<std::string> kWait = {"--wait-subscriber", "60"};

class Xstd : public testing::Test {
 protected:
  std::string Config(const std::string& source, const std::string& more = "") {
    return work_.Write("xstd.yaml",
                       "publish: {endpoint: \"tcp://127.0.0.1:*\", encoding: json}\n" + more +
                           "streams:\n  - {name: ecg, model: forecaster.xst, source: " + source +
                           "}\n");
  }
  std::string PullConfig(const std::string& more = "") {
    return Config("{type: pull, endpoint: \"tcp://127.0.0.1:*\"}", more);
  }
  // Writes samples as a recording; NaN is an empty field.
  std::string Recording(const std::vector<float>& samples) {
    std::string text = "t,ecg\n";
    for (size_t i = 0; i < samples.size(); ++i) {
      char row[64];
      std::snprintf(row, sizeof(row), "%.6f,", static_cast<double>(i) / kRate);
      text += row;
      if (!std::isnan(samples[i])) {
        std::snprintf(row, sizeof(row), "%.9g", static_cast<double>(samples[i]));
        text += row;
      }
      text += "\n";
    }
    return work_.Write("ecg.csv", text);
  }
  // Messages begin..: outputs `begin`, `begin + 1`, … of `samples`.
  void ExpectRun(const std::vector<Message>& messages, const std::vector<float>& samples,
                 size_t begin = 0) {
    const auto want = XstRun(work_, "forecaster.xst", samples);
    ASSERT_EQ(messages.size(), samples.size() - begin);
    for (size_t i = 0; i < messages.size(); ++i) {
      const Message& m = messages[i];
      ASSERT_EQ(m.frames, 2u);
      ASSERT_EQ(m.topic, "ecg/");
      ASSERT_TRUE(m.json.is_object()) << m.payload;
      ASSERT_EQ(m.json["seq"], begin + i) << m.payload;
      ASSERT_TRUE(SameValues(m, kNames, want[begin + i])) << m.payload;
      ASSERT_EQ(m.json["epoch"], messages[0].json["epoch"]);
    }
  }
  nlohmann::json Summary() {
    std::ifstream file(work_ / "summary.json");
    return nlohmann::json::parse(file)["streams"][0];
  }
  std::vector<std::string> WithSummary() {
    return {"--wait-subscriber", "60", "--summary", work_ / "summary.json"};
  }

  Workspace work_;
  zmq::context_t context_;
};

TEST_F(Xstd, PushedSamplesComeOutOnceInOrderAsXstRunSays) {
  auto samples = Signal(400);
  samples[100] = kNan;
  samples[101] = kNan;
  Daemon daemon(PullConfig(), WithSummary());
  ASSERT_TRUE(daemon.Ready()) << daemon.err();
  Subscriber subscriber(context_, daemon.endpoint("publish"));
  auto push = Pusher(context_, daemon.endpoint("ecg"));
  for (size_t i = 0; i < samples.size(); ++i) Push(push, JsonSample(i, samples[i], kRate));
  const auto messages = subscriber.Get(samples.size());
  ExpectRun(messages, samples);
  const std::set<std::string> keys = {"timestamp", "seq", "epoch",     "quality",
                                      "y",         "x",   "latency_us"};
  for (size_t i = 0; i < messages.size(); ++i) {
    const auto& json = messages[i].json;
    std::set<std::string> got;
    for (const auto& [key, value] : json.items()) got.insert(key);
    ASSERT_EQ(got, keys);
    EXPECT_EQ(json["timestamp"].get<double>(), static_cast<double>(i) / kRate);
    EXPECT_LT(json["epoch"].get<uint64_t>(), uint64_t{1} << 53);
    EXPECT_GE(json["latency_us"].get<double>(), 0);
    EXPECT_EQ((json["quality"].get<int>() & 1) != 0, std::isnan(samples[i]));
    EXPECT_EQ(json["x"]["ecg"].is_null(), std::isnan(samples[i]));
    EXPECT_EQ(messages[i].payload.find("nan"), std::string::npos);
  }
  EXPECT_TRUE(messages[0].json["y"]["surprise"].is_null());
  EXPECT_EQ(daemon.Stop(), 0) << daemon.err();
  const auto summary = Summary();
  EXPECT_EQ(summary["samples"], 400);
  EXPECT_EQ(summary["outputs"], 400);
  EXPECT_EQ(summary["held"], 2);
  EXPECT_EQ(summary["malformed"], 0);
  EXPECT_GT(summary["step_us"]["max"].get<double>(), 0);
}

TEST_F(Xstd, TakesCsvLinesAndArrivalTimes) {
  const auto samples = Signal(50);
  Daemon daemon(PullConfig(), kWait);
  ASSERT_TRUE(daemon.Ready()) << daemon.err();
  Subscriber subscriber(context_, daemon.endpoint("publish"));
  auto push = Pusher(context_, daemon.endpoint("ecg"));
  for (const float v : samples) {
    char line[32];
    std::snprintf(line, sizeof(line), "%.9g\n", static_cast<double>(v));
    Push(push, line);
  }
  const auto messages = subscriber.Get(samples.size());
  ExpectRun(messages, samples);
  EXPECT_GT(messages[0].json["timestamp"].get<double>(), 1.6e9);
  EXPECT_EQ(daemon.Stop(), 0);
}

TEST_F(Xstd, ReplaysARecordingToItsEnd) {
  auto samples = Signal(600);
  samples[0] = kNan;
  samples[300] = kNan;
  Recording(samples);
  Daemon daemon(Config("{type: replay, file: ecg.csv, speed: 0}"), WithSummary());
  ASSERT_TRUE(daemon.Ready()) << daemon.err();
  Subscriber subscriber(context_, daemon.endpoint("publish"), "ecg/");
  ExpectRun(subscriber.Get(samples.size()), samples);
  EXPECT_EQ(daemon.Wait(), 0) << daemon.err();
  EXPECT_EQ(Summary()["outputs"], 600);
  EXPECT_EQ(Summary()["late"], 0);  // nothing is due when it goes as fast as it goes
}

TEST_F(Xstd, ReadsStandardInputToItsEnd) {
  const auto samples = Signal(300);
  Recording(samples);
  Daemon daemon(Config("{type: stdin}"), kWait);
  ASSERT_TRUE(daemon.Ready()) << daemon.err();
  Subscriber subscriber(context_, daemon.endpoint("publish"));
  std::ifstream file(work_ / "ecg.csv");
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  daemon.Input(text.substr(0, 1000));  // cut within a line
  daemon.Input(text.substr(1000));
  daemon.CloseInput();
  ExpectRun(subscriber.Get(samples.size()), samples);
  EXPECT_EQ(daemon.Wait(), 0) << daemon.err();
}

TEST_F(Xstd, SubscribesToAnotherPublisher) {
  const auto samples = Signal(50);
  zmq::socket_t publisher(context_, zmq::socket_type::xpub);
  publisher.set(zmq::sockopt::linger, 1000);
  publisher.bind("tcp://127.0.0.1:*");
  const std::string endpoint = publisher.get(zmq::sockopt::last_endpoint);
  Daemon daemon(Config("{type: sub, endpoint: \"" + endpoint + "\", topic: \"x/\"}"), kWait);
  ASSERT_TRUE(daemon.Ready()) << daemon.err();
  Subscriber subscriber(context_, daemon.endpoint("publish"));
  zmq::message_t subscription;
  ASSERT_TRUE(publisher.recv(subscription));
  EXPECT_EQ(subscription.to_string(), "\1x/");
  for (size_t i = 0; i < samples.size(); ++i) {
    publisher.send(zmq::str_buffer("y/"), zmq::send_flags::sndmore);
    publisher.send(zmq::str_buffer("other"), zmq::send_flags::none);
    publisher.send(zmq::str_buffer("x/"), zmq::send_flags::sndmore);
    publisher.send(zmq::buffer(JsonSample(i, samples[i], kRate)), zmq::send_flags::none);
  }
  ExpectRun(subscriber.Get(samples.size()), samples);
  EXPECT_EQ(daemon.Stop(), 0);
}

TEST_F(Xstd, StreamsHaveTheirOwnTopics) {
  const auto samples = Signal(100);
  Recording(samples);
  const std::string source = "{type: replay, file: ecg.csv, speed: 0}";
  const std::string config = work_.Write(
      "two.yaml", "publish: {endpoint: \"ipc://" + (work_ / "pub") + "\"}\nstreams:\n" +
                      "  - {name: ecg, model: forecaster.xst, source: " + source + "}\n" +
                      "  - {name: ecg2, model: forecaster.xst, source: " + source + "}\n");
  Daemon daemon(config, kWait);
  ASSERT_TRUE(daemon.Ready()) << daemon.err();
  Subscriber subscriber(context_, daemon.endpoint("publish"), "ecg/");
  ExpectRun(subscriber.Get(samples.size()), samples);
  EXPECT_EQ(daemon.Wait(), 0) << daemon.err();
}

TEST_F(Xstd, GapsAreHeldAndSaidAndDuplicatesDropped) {
  Daemon daemon(PullConfig(), WithSummary());
  ASSERT_TRUE(daemon.Ready()) << daemon.err();
  Subscriber subscriber(context_, daemon.endpoint("publish"));
  auto push = Pusher(context_, daemon.endpoint("ecg"));
  for (const uint64_t seq : {0, 1, 1, 5, 0, 100}) Push(push, JsonSample(seq, 0.5f, kRate));
  // 0 1 | 2 3 4 held | 5 | 20 held, reset | 100
  const auto messages = subscriber.Get(27);
  ASSERT_EQ(messages.size(), 27u);
  const auto want = XstRun(work_, "forecaster.xst", {0.5f, 0.5f, kNan, kNan, kNan, 0.5f});
  for (size_t i = 0; i < 6; ++i) {
    EXPECT_TRUE(SameValues(messages[i], kNames, want[i])) << messages[i].payload;
    EXPECT_EQ((messages[i].json["quality"].get<int>() & 2) != 0, i >= 2 && i <= 4);
  }
  EXPECT_NEAR(messages[5].json["gap_s"].get<double>(), 0.03, 1e-9);
  const auto& last = messages[26].json;
  EXPECT_EQ(last["quality"].get<int>() & 32, 32);
  EXPECT_NE(last["epoch"], messages[25].json["epoch"]);
  EXPECT_EQ(last["seq"], 26);
  EXPECT_TRUE(SameValues(messages[26], kNames, XstRun(work_, "forecaster.xst", {0.5f})[0]));
  EXPECT_EQ(daemon.Stop(), 0);
  EXPECT_EQ(Summary()["duplicates"], 2);
  EXPECT_EQ(Summary()["resets"], 1);
}

TEST_F(Xstd, StoppedAndResumedPullLosesNothing) {
  // Far more than libzmq's own queues hold, so that a stop finds samples in every place.
  const auto samples = Signal(6000);
  const std::string config = PullConfig("state_dir: state\n");
  std::vector<Message> all;
  size_t next = 0;
  for (const size_t until : {1, 3000, 3001, 6000}) {
    Daemon daemon(config, kWait);
    ASSERT_TRUE(daemon.Ready()) << daemon.err();
    Subscriber subscriber(context_, daemon.endpoint("publish"));
    {
      auto push = Pusher(context_, daemon.endpoint("ecg"));
      const size_t begin = next;
      for (; next < until; ++next) Push(push, JsonSample(next, samples[next], kRate));
      // Stopped while most of it is still on its way.
      ASSERT_GE(subscriber.Get(1).size(), 1u) << begin;
      EXPECT_EQ(daemon.Stop(), 0) << daemon.err();
    }
    for (const Message& m : subscriber.Get(until - all.size(), 500)) all.push_back(m);
    ASSERT_EQ(all.size(), until);
  }
  ExpectRun(all, samples);
}

TEST_F(Xstd, StoppedAndResumedReplayLosesNothing) {
  const auto samples = Signal(1500);
  Recording(samples);
  const std::string config =
      Config("{type: replay, file: ecg.csv, speed: 20}", "state_dir: state\n");
  std::vector<Message> all;
  for (int run = 0; all.size() < samples.size(); ++run) {
    ASSERT_LT(run, 20);
    Daemon daemon(config, kWait);
    ASSERT_TRUE(daemon.Ready()) << daemon.err();
    Subscriber subscriber(context_, daemon.endpoint("publish"));
    if (run < 3) {
      subscriber.Get(100 + 150 * static_cast<size_t>(run));
      EXPECT_EQ(daemon.Stop(), 0) << daemon.err();
    } else {
      EXPECT_EQ(daemon.Wait(), 0) << daemon.err();
    }
    for (const Message& m : subscriber.Get(samples.size(), 500)) all.push_back(m);
  }
  ExpectRun(all, samples);

  Daemon again(config, {"--wait-subscriber", "0"});
  EXPECT_EQ(again.Wait(), 0);
  EXPECT_NE(again.err().find("already played to its end"), std::string::npos) << again.err();
}

TEST_F(Xstd, KilledItGoesOnFromASnapshotBehindWhatWasPublished) {
  const auto samples = Signal(2000);
  Recording(samples);
  const std::string config =
      Config("{type: replay, file: ecg.csv, speed: 5}", "state_dir: state\n");
  std::vector<Message> before, after;
  {
    Daemon daemon(config, {"--wait-subscriber", "60", "--snapshot-every", "0.1"});
    ASSERT_TRUE(daemon.Ready()) << daemon.err();
    Subscriber subscriber(context_, daemon.endpoint("publish"));
    ASSERT_GE(subscriber.Get(1200).size(), 1200u);  // more than a checkpoint waits for
    daemon.Signal(SIGKILL);
    EXPECT_EQ(daemon.Wait(), 128 + SIGKILL);
    before = subscriber.Get(samples.size(), 300);
  }
  const std::string rest = Config("{type: replay, file: ecg.csv, speed: 0}", "state_dir: state\n");
  Daemon daemon(rest, kWait);
  ASSERT_TRUE(daemon.Ready()) << daemon.err();
  Subscriber subscriber(context_, daemon.endpoint("publish"));
  EXPECT_EQ(daemon.Wait(), 0) << daemon.err();
  after = subscriber.Get(samples.size(), 500);
  ASSERT_FALSE(after.empty());
  // The second run starts at or before the end of the first, and repeats what it repeats exactly.
  const size_t first = after[0].json["seq"].get<size_t>();
  ASSERT_GT(first, 0u);
  ASSERT_LE(first, before.size());
  ExpectRun(after, samples, first);
  EXPECT_EQ(after[0].json["epoch"], before[0].json["epoch"]);
}

}  // namespace
}  // namespace xst::e2e
