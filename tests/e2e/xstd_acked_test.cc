// The acknowledged source: its protocol, and what a restart makes of what was acknowledged.
#include <gtest/gtest.h>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <optional>
#include <string>
#include <vector>

#include "tests/e2e/daemon.h"

namespace xst::e2e {
namespace {

namespace fs = std::filesystem;
constexpr double kRate = 100;
const std::vector<std::string> kNames = {"next",        "next.sigma", "ahead",
                                         "ahead.sigma", "surprise",   "beat"};

class XstdAcked : public testing::Test {
 protected:
  std::string Config(const std::string& more = "state_dir: state\n") {
    return work_.Write("xstd.yaml",
                       "publish: {endpoint: \"tcp://127.0.0.1:*\"}\n" + more +
                           "streams: [{name: ecg, model: forecaster.xst, source: {type: acked, "
                           "endpoint: \"tcp://127.0.0.1:*\"}}]\n");
  }
  std::vector<std::string> Listening() {
    return {"--wait-subscriber", "60", "--summary", work_ / "summary.json"};
  }
  nlohmann::json Summary() {
    std::ifstream file(work_ / "summary.json");
    return nlohmann::json::parse(file)["streams"][0];
  }
  void Connect(const Daemon& daemon, zmq::socket_type type = zmq::socket_type::dealer) {
    client_ = zmq::socket_t(context_, type);
    client_.set(zmq::sockopt::linger, 0);
    client_.set(zmq::sockopt::rcvtimeo, 30000);
    client_.connect(daemon.endpoint("ecg"));
  }
  void Send(const std::string& message) { client_.send(zmq::buffer(message)); }
  void Send(uint64_t seq) { Send(JsonSample(seq, samples_[seq], kRate)); }
  nlohmann::json Answer() {
    zmq::message_t message;
    if (!client_.recv(message)) return "none came";
    EXPECT_FALSE(message.more());
    return nlohmann::json::parse(message.to_string());
  }
  nlohmann::json Ask(const std::string& message) {
    Send(message);
    return Answer();
  }
  nlohmann::json Ask(uint64_t seq) { return Ask(JsonSample(seq, samples_[seq], kRate)); }
  static nlohmann::json Acked(std::optional<uint64_t> seq) {
    return {{"acked", seq ? nlohmann::json(*seq) : nlohmann::json()}};
  }
  void ExpectOutputs(const std::vector<Message>& messages, size_t begin, size_t end) {
    const auto want = XstRun(work_, "forecaster.xst", samples_);
    ASSERT_EQ(messages.size(), end - begin);
    for (size_t i = 0; i < messages.size(); ++i) {
      ASSERT_EQ(messages[i].json["seq"], begin + i) << messages[i].payload;
      ASSERT_TRUE(SameValues(messages[i], kNames, want[begin + i])) << messages[i].payload;
    }
  }

  Workspace work_;
  zmq::context_t context_;
  zmq::socket_t client_;
  const std::vector<float> samples_ = Signal(300);
};

TEST_F(XstdAcked, AnswersWhatIsDurable) {
  Daemon daemon(Config(), Listening());
  ASSERT_TRUE(daemon.Ready()) << daemon.err();
  Subscriber subscriber(context_, daemon.endpoint("publish"));
  Connect(daemon);
  EXPECT_EQ(Ask(""), Acked({}));
  EXPECT_EQ(Ask(0), Acked(0));
  EXPECT_EQ(Ask(1), Acked(1));
  EXPECT_EQ(Ask(0), Acked(1));  // sent again
  EXPECT_EQ(Ask(5), Acked(1));  // 2 to 4 were lost on their way
  for (uint64_t seq = 2; seq < 200; ++seq) Send(seq);
  for (uint64_t seq = 2, last = 2; seq < 200; ++seq) {  // one answer a message, never backwards
    const auto answer = Answer();
    ASSERT_GE(answer.at("acked"), std::max(seq, last));
    last = answer.at("acked").get<uint64_t>();
  }
  EXPECT_EQ(Ask(""), Acked(199));
  ExpectOutputs(subscriber.Get(200), 0, 200);
  EXPECT_EQ(daemon.Stop(), 0) << daemon.err();
  EXPECT_EQ(Summary()["duplicates"], 0);
  EXPECT_EQ(Summary()["missing"], 0);
  EXPECT_EQ(Summary()["log_errors"], 0);
}

TEST_F(XstdAcked, MalformedRecordsAreAnsweredAndCounted) {
  Daemon daemon(Config(), Listening());
  ASSERT_TRUE(daemon.Ready()) << daemon.err();
  Subscriber subscriber(context_, daemon.endpoint("publish"));
  Connect(daemon);
  EXPECT_EQ(Ask(0), Acked(0));
  const std::vector<std::string> bad = {"{",
                                        "hello \"you\\",
                                        "{\"x\": [1]}",
                                        "{\"x\": [1], \"seq\": -1}",
                                        "{\"x\": [1, 2], \"seq\": 1}",
                                        "{\"x\": [1], \"seq\": 18446744073709551615}",
                                        "1",
                                        "1,2,3,4",
                                        "1.5,2",
                                        "-1,2",
                                        std::string("\xff\0\x01", 3),
                                        std::string(60000, '[')};
  for (const std::string& message : bad) {
    const auto answer = Ask(message);
    ASSERT_TRUE(answer.contains("error")) << message.substr(0, 40) << ": " << answer;
    const std::string error = answer["error"];
    EXPECT_NE(error.find("expected"), std::string::npos) << error;
  }
  for (int i = 0; i < 4; ++i) client_.send(zmq::str_buffer("a"), zmq::send_flags::sndmore);
  Send(1);
  EXPECT_TRUE(Answer().contains("error"));
  EXPECT_EQ(Ask(1), Acked(1));
  ExpectOutputs(subscriber.Get(2), 0, 2);
  EXPECT_EQ(daemon.Stop(), 0) << daemon.err();
  EXPECT_EQ(Summary()["malformed"], bad.size() + 1);
}

TEST_F(XstdAcked, TakesCsvAndClientsOfOneQuestion) {
  Daemon daemon(Config(), Listening());
  ASSERT_TRUE(daemon.Ready()) << daemon.err();
  Subscriber subscriber(context_, daemon.endpoint("publish"));
  Connect(daemon, zmq::socket_type::req);
  EXPECT_EQ(Ask(""), Acked({}));
  for (uint64_t seq = 0; seq < 20; ++seq) {
    char line[96];
    const double v = samples_[seq], t = 7 + static_cast<double>(seq) / kRate;
    if (seq % 2 == 0) std::snprintf(line, sizeof(line), "%d,%.17g,%.9g", int(seq), t, v);
    if (seq % 2 == 1) std::snprintf(line, sizeof(line), "%d,%.9g\n", int(seq), v);
    ASSERT_EQ(Ask(line), Acked(seq));
  }
  const auto messages = subscriber.Get(20);
  ExpectOutputs(messages, 0, 20);
  EXPECT_EQ(messages[2].json["timestamp"], 7.02);
  EXPECT_GT(messages[3].json["timestamp"], 1e9);
  EXPECT_EQ(daemon.Stop(), 0) << daemon.err();
}

TEST_F(XstdAcked, AClientWithNothingBeforeIsTakenWhenItInsists) {
  Daemon daemon(Config(), Listening());
  ASSERT_TRUE(daemon.Ready()) << daemon.err();
  Subscriber subscriber(context_, daemon.endpoint("publish"));
  Connect(daemon);
  EXPECT_EQ(Ask(10), Acked({}));  // the first of a client that does not start at 0
  EXPECT_EQ(Ask(12), Acked({}));
  EXPECT_EQ(Ask(10), Acked(10));
  EXPECT_EQ(Ask(12), Acked(10));
  EXPECT_EQ(Ask(11), Acked(11));
  EXPECT_EQ(Ask(13), Acked(11));
  EXPECT_EQ(Ask(12), Acked(12));
  EXPECT_EQ(Ask(13), Acked(13));
  EXPECT_EQ(Ask(16), Acked(13));  // 14 and 15 were never measured
  EXPECT_EQ(Ask(17), Acked(13));
  EXPECT_EQ(Ask(16), Acked(16));
  const auto messages = subscriber.Get(7);  // two of them held
  ASSERT_EQ(messages.size(), 7u);
  EXPECT_NEAR(messages[6].json["gap_s"].get<double>(), 0.02, 1e-9);
  EXPECT_EQ(daemon.Stop(), 0) << daemon.err();
  EXPECT_EQ(Summary()["missing"], 2);
}

TEST_F(XstdAcked, WhatWasAcknowledgedComesOutAfterAKill) {
  // Without `t`: the times are those of the first arrival.
  const auto send = [&](uint64_t seq) {
    return Ask("{\"seq\": " + std::to_string(seq) + ", \"x\": [" + std::to_string(samples_[seq]) +
               "]}");
  };
  std::vector<Message> before, after;
  {
    Daemon daemon(Config(), Listening());
    ASSERT_TRUE(daemon.Ready()) << daemon.err();
    Subscriber subscriber(context_, daemon.endpoint("publish"));
    Connect(daemon);
    for (uint64_t seq = 0; seq < 50; ++seq) ASSERT_EQ(send(seq), Acked(seq));
    before = subscriber.Get(50);
    daemon.Signal(SIGKILL);
    daemon.Wait();
  }
  {
    Daemon daemon(Config(), Listening());
    ASSERT_TRUE(daemon.Ready()) << daemon.err();
    Subscriber subscriber(context_, daemon.endpoint("publish"));
    Connect(daemon);
    EXPECT_EQ(Ask(""), Acked(49));
    EXPECT_EQ(send(49), Acked(49));
    EXPECT_EQ(send(50), Acked(50));
    after = subscriber.Get(51);
    EXPECT_EQ(daemon.Stop(), 0) << daemon.err();
  }
  ASSERT_EQ(before.size(), 50u);
  ASSERT_EQ(after.size(), 51u);
  for (size_t i = 0; i < 50; ++i) {
    for (const char* key : {"epoch", "seq", "timestamp", "y", "x"}) {
      ASSERT_EQ(before[i].json[key], after[i].json[key]) << i;
    }
    EXPECT_EQ(before[i].json["quality"].get<int>() & 16, 0);
    EXPECT_EQ(after[i].json["quality"].get<int>() & (16 | 8), 16);
  }
  EXPECT_EQ(after[50].json["quality"].get<int>() & 16, 0);

  Daemon again(Config(), Listening());
  ASSERT_TRUE(again.Ready()) << again.err();
  EXPECT_NE(again.err().find("at seq 51"), std::string::npos) << again.err();
  Subscriber subscriber(context_, again.endpoint("publish"));
  Connect(again);
  EXPECT_EQ(Ask(""), Acked(50));
  EXPECT_EQ(again.Stop(), 0) << again.err();
}

TEST_F(XstdAcked, NeedsAStateDirAndBlocks) {
  const Finished none = RunProgram("xstd", {"--check-config", "--config", Config("")});
  EXPECT_EQ(none.status, 1);
  EXPECT_NE(none.err.find("xstd.yaml:2:11: streams[0].source: expected a state_dir"),
            std::string::npos)
      << none.err;
  const std::string drops = work_.Write(
      "drops.yaml",
      "state_dir: state\nstreams:\n  - {name: ecg, model: forecaster.xst, on_full: drop_oldest, "
      "source: {type: acked, endpoint: \"ipc://x\"}}\n");
  const Finished refused = RunProgram("xstd", {"--check-config", "--config", drops});
  EXPECT_EQ(refused.status, 1);
  EXPECT_NE(refused.err.find("drops.yaml:3:5: streams[0].on_full: expected block"),
            std::string::npos)
      << refused.err;
  const std::string open = work_.Write(
      "open.yaml",
      "publish: {endpoint: \"tcp://127.0.0.1:*\"}\nstate_dir: state\nstreams: [{name: ecg, model: "
      "forecaster.xst, source: {type: acked, endpoint: \"tcp://0.0.0.0:9871\"}}]\n");
  const Finished network = RunProgram("xstd", {"--config", open});
  EXPECT_EQ(network.status, 1);
  EXPECT_NE(network.err.find("source endpoint: expected"), std::string::npos) << network.err;
}

}  // namespace
}  // namespace xst::e2e
