// Bad input, bad peers and bad disks: one clear error or the documented policy.
#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "tests/e2e/daemon.h"

namespace xst::e2e {
namespace {

namespace fs = std::filesystem;
constexpr double kRate = 100;
constexpr char kAnyPort[] = "tcp://127.0.0.1:*";
const std::vector<std::string> kNames = {"next",        "next.sigma", "ahead",
                                         "ahead.sigma", "surprise",   "beat"};

// Twenty connections with more and more random bytes, cut without a word.
void TalkNonsense(const std::string& endpoint, std::mt19937* random) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port =
      htons(static_cast<uint16_t>(std::stoi(endpoint.substr(endpoint.rfind(':') + 1))));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  for (int i = 0; i < 20; ++i) {
    const int fd = socket(AF_INET, SOCK_STREAM, 0);
    ASSERT_EQ(connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
    std::string bytes(static_cast<size_t>(i) * 37, '\0');
    for (char& c : bytes) c = static_cast<char>((*random)());
    EXPECT_EQ(send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL),
              static_cast<ssize_t>(bytes.size()));
    close(fd);
  }
}

class XstdFaults : public testing::Test {
 protected:
  std::string Config(const std::string& source, const std::string& publish = kAnyPort,
                     const std::string& more = "", const std::string& model = "forecaster.xst") {
    return work_.Write("xstd.yaml", "publish: {endpoint: \"" + publish + "\"}\n" + more +
                                        "streams: [{name: ecg, model: " + model +
                                        ", source: " + source + "}]\n");
  }
  std::string Pull(const std::string& more = "") {
    return Config("{type: pull, endpoint: \"" + std::string(kAnyPort) + "\"}", kAnyPort, more);
  }
  std::vector<std::string> Listening() {
    return {"--wait-subscriber", "60", "--summary", work_ / "summary.json"};
  }
  nlohmann::json Summary() {
    std::ifstream file(work_ / "summary.json");
    return nlohmann::json::parse(file)["streams"][0];
  }
  // The daemon must refuse: exit 1, one error line with these words.
  void ExpectRefused(const std::string& config, const std::vector<std::string>& words) {
    const Finished run = RunProgram("xstd", {"--config", config});
    EXPECT_EQ(run.status, 1) << run.err;
    EXPECT_EQ(run.err.rfind("xstd: error: ", 0), 0u) << run.err;
    for (const std::string& word : words) {
      EXPECT_NE(run.err.find(word), std::string::npos) << word << " in: " << run.err;
    }
  }
  void ExpectOutputs(const std::vector<Message>& messages, const std::vector<float>& samples) {
    const auto want = XstRun(work_, "forecaster.xst", samples);
    ASSERT_EQ(messages.size(), samples.size());
    for (size_t i = 0; i < samples.size(); ++i) {
      ASSERT_EQ(messages[i].json["seq"], i);
      ASSERT_TRUE(SameValues(messages[i], kNames, want[i])) << messages[i].payload;
    }
  }

  Workspace work_;
  zmq::context_t context_;
};

TEST_F(XstdFaults, MalformedMessagesAreCountedAndHarmless) {
  const auto samples = Signal(60);
  const std::vector<std::string> bad = {"hello",
                                        "{",
                                        "{}",
                                        "{\"x\": 1}",
                                        "{\"x\": [1,2]}",
                                        "{\"x\": [\"a\"]}",
                                        "1,2,3",
                                        "[1]",
                                        "{\"x\": [1], \"seq\": -4}",
                                        "{\"x\": [1], \"t\": \"now\"}",
                                        std::string("\xff\xfe\x00\x01", 4),
                                        std::string(60000, '['),
                                        std::string(60000, '1') + ","};
  Daemon daemon(Pull(), Listening());
  ASSERT_TRUE(daemon.Ready()) << daemon.err();
  Subscriber subscriber(context_, daemon.endpoint("publish"));
  auto push = Pusher(context_, daemon.endpoint("ecg"));
  for (size_t i = 0; i < samples.size(); ++i) {
    Push(push, JsonSample(i, samples[i], kRate));
    if (i < bad.size()) Push(push, bad[i]);
  }
  push.send(zmq::str_buffer("a"), zmq::send_flags::sndmore);
  push.send(zmq::str_buffer("b"), zmq::send_flags::sndmore);
  push.send(zmq::buffer(JsonSample(99, 0, kRate)), zmq::send_flags::none);
  ExpectOutputs(subscriber.Get(samples.size()), samples);
  EXPECT_EQ(daemon.Stop(), 0);
  EXPECT_EQ(Summary()["malformed"], bad.size() + 1);
  EXPECT_NE(daemon.err().find("malformed"), std::string::npos);
}

TEST_F(XstdFaults, ClientsThatDieOrTalkNonsenseEndNothing) {
  const auto samples = Signal(200);
  Daemon daemon(Pull(), Listening());
  ASSERT_TRUE(daemon.Ready()) << daemon.err();
  Subscriber subscriber(context_, daemon.endpoint("publish"));
  size_t next = 0;
  const auto push_as_new_client = [&] {
    auto push = Pusher(context_, daemon.endpoint("ecg"));
    for (int i = 0; i < 50; ++i, ++next) Push(push, JsonSample(next, samples[next], kRate));
    subscriber.Get(next);
    push.set(zmq::sockopt::linger, 0);
  };
  push_as_new_client();
  // Random bytes can be a peer of the first protocol version, which has no handshake to fail.
  std::mt19937 random(7);
  for (const char* socket_name : {"ecg", "publish"})
    TalkNonsense(daemon.endpoint(socket_name), &random);
  for (int client = 1; client < 4; ++client) push_as_new_client();
  ExpectOutputs(subscriber.Get(samples.size()), samples);
  EXPECT_EQ(daemon.Stop(), 0);
}

TEST_F(XstdFaults, ASubscriberThatNeverReadsStopsNothing) {
  constexpr size_t kCount = 30000;
  std::string text = "ecg\n";
  for (const float v : Signal(kCount)) text += std::to_string(v) + "\n";
  work_.Write("ecg.csv", text);
  Daemon daemon(Config("{type: replay, file: ecg.csv, speed: 0}"), Listening());
  ASSERT_TRUE(daemon.Ready()) << daemon.err();
  zmq::socket_t stuck(context_, zmq::socket_type::sub);
  stuck.set(zmq::sockopt::rcvhwm, 1);
  stuck.set(zmq::sockopt::rcvbuf, 4096);
  stuck.set(zmq::sockopt::linger, 0);
  stuck.set(zmq::sockopt::subscribe, "");
  stuck.connect(daemon.endpoint("publish"));
  EXPECT_EQ(daemon.Wait(), 0) << daemon.err();
  EXPECT_EQ(Summary()["outputs"], kCount);
}

TEST_F(XstdFaults, APortInUseIsNamed) {
  zmq::socket_t taken(context_, zmq::socket_type::pull);
  taken.bind(kAnyPort);
  const std::string endpoint = taken.get(zmq::sockopt::last_endpoint);
  ExpectRefused(Config("{type: stdin}", endpoint), {"publish endpoint", endpoint, "in use"});
  ExpectRefused(Config("{type: pull, endpoint: \"" + endpoint + "\"}"),
                {"stream ecg", "source endpoint", endpoint, "in use"});
  const std::string path = "ipc://" + (work_ / "socket");
  taken.bind(path);
  ExpectRefused(Config("{type: stdin}", path), {path, "in use"});
}

TEST_F(XstdFaults, AddressesOfTheNetworkAreRefused) {
  for (const std::string endpoint :
       {"tcp://0.0.0.0:9872", "tcp://*:9872", "tcp://192.168.1.1:9872", "tcp://127.evil.org:1",
        "tcp://eth0:9872", "udp://127.0.0.1:1", "tcp://9872", "nonsense"}) {
    ExpectRefused(Config("{type: stdin}", endpoint), {"publish endpoint: expected", endpoint});
    ExpectRefused(Config("{type: pull, endpoint: \"" + endpoint + "\"}"),
                  {"source endpoint: expected", endpoint});
  }
}

TEST_F(XstdFaults, FilesThatAreMissingOrWrong) {
  work_.Write("broken.xst", "not a model");
  work_.Write("empty.csv", "");
  work_.Write("headless.csv", "1\n2\n");
  work_.Write("other.csv", "u,v,w\n1,2,3\n");
  ExpectRefused(work_ / "none.yaml", {"none.yaml", "expected", "got"});
  ExpectRefused(Config("{type: stdin}", kAnyPort, "", "none.xst"), {"stream ecg", "none.xst"});
  ExpectRefused(Config("{type: stdin}", kAnyPort, "", "broken.xst"), {"stream ecg", "broken.xst"});
  ExpectRefused(Config("{type: replay, file: none.csv}"), {"none.csv", "expected"});
  ExpectRefused(Config("{type: replay, file: empty.csv}"), {"empty.csv", "expected a header"});
  ExpectRefused(Config("{type: replay, file: headless.csv}"), {"headless.csv", "header"});
  ExpectRefused(Config("{type: replay, file: other.csv}"), {"other.csv", "expected", "u,v,w"});
  ExpectRefused(Config("{type: stdin}", kAnyPort, "port: 1\n"), {"xstd.yaml:2:1: port: expected"});
  ExpectRefused(Config("{type: stdin}", kAnyPort, "state_dir: empty.csv\n"), {"state_dir"});
}

TEST_F(XstdFaults, ABadRowEndsTheRecordingWithItsPlace) {
  work_.Write("ecg.csv", "t,ecg\n0,1\n0.01,2\n0.02,x\n0.03,4\n");
  Daemon daemon(Config("{type: replay, file: ecg.csv, speed: 0}"), Listening());
  ASSERT_TRUE(daemon.Ready());
  Subscriber subscriber(context_, daemon.endpoint("publish"));
  EXPECT_EQ(daemon.Wait(), 1);
  EXPECT_NE(daemon.err().find("ecg.csv:4: field 2: expected"), std::string::npos) << daemon.err();
  EXPECT_EQ(subscriber.Get(2).size(), 2u);
}

TEST_F(XstdFaults, CheckConfigOpensEverythingAndRunsNothing) {
  work_.Write("ecg.csv", "t,ecg\n0,1\n");
  const std::string good = Config("{type: replay, file: ecg.csv}");
  const Finished ok = RunProgram("xstd", {"--config", good, "--check-config"});
  EXPECT_EQ(ok.status, 0) << ok.err;
  EXPECT_NE(ok.out.find("ok, 1 stream"), std::string::npos) << ok.out;
  const Finished bad = RunProgram(
      "xstd", {"--check-config", "--config", Config("{type: stdin}", kAnyPort, "", "none.xst")});
  EXPECT_EQ(bad.status, 1);
  EXPECT_EQ(bad.err.rfind("xstd: error: ", 0), 0u) << bad.err;
  EXPECT_TRUE(bad.out.empty());
  const Finished http = RunProgram(
      "xstd", {"--check-config", "--config",
               Config("{type: stdin}", kAnyPort, "http: {endpoint: \"127.0.0.1:9873\"}\n")});
  EXPECT_EQ(http.status, 0) << http.err;
  EXPECT_TRUE(http.err.empty()) << http.err;
}

TEST_F(XstdFaults, UsageErrorsAreTwo) {
  EXPECT_EQ(RunProgram("xstd", {}).status, 2);
  EXPECT_EQ(RunProgram("xstd", {"--config"}).status, 2);
  EXPECT_EQ(RunProgram("xstd", {"--config", "x", "--frobnicate"}).status, 2);
  EXPECT_EQ(RunProgram("xstd", {"--config", "x", "--snapshot-every", "-1"}).status, 2);
  const Finished help = RunProgram("xstd", {"--help"});
  EXPECT_EQ(help.status, 0);
  EXPECT_NE(help.out.find("--check-config"), std::string::npos);
  const Finished version = RunProgram("xstd", {"--version"});
  EXPECT_EQ(version.status, 0);
  EXPECT_EQ(version.out.rfind("xstd ", 0), 0u) << version.out;
}

TEST_F(XstdFaults, AFullDiskStopsTheSnapshotsNotTheStream) {
  const auto samples = Signal(300);
  auto arguments = Listening();
  arguments.insert(arguments.end(), {"--snapshot-every", "0.02"});
  Daemon daemon(Pull("state_dir: state\n"), arguments);
  ASSERT_TRUE(daemon.Ready()) << daemon.err();
  Subscriber subscriber(context_, daemon.endpoint("publish"));
  auto push = Pusher(context_, daemon.endpoint("ecg"));
  size_t next = 0;
  const auto push_some = [&](size_t count) {
    for (size_t i = 0; i < count; ++i, ++next) Push(push, JsonSample(next, samples[next], kRate));
    ASSERT_GE(subscriber.Get(next).size(), next);
  };
  const std::string slot = work_ / "state/ecg.a";
  push_some(50);
  while (!fs::exists(slot) || fs::file_size(slot) == 0) {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  // No file may be as long as a snapshot: as on a full disk, its write is cut short.
  const rlimit full{fs::file_size(slot) - 1, RLIM_INFINITY}, room{RLIM_INFINITY, RLIM_INFINITY};
  ASSERT_GT(full.rlim_cur, 4000u);  // the log is a file as well
  ASSERT_EQ(prlimit(daemon.pid(), RLIMIT_FSIZE, &full, nullptr), 0);
  while (daemon.err().find("snapshot") == std::string::npos && next + 10 < samples.size()) {
    push_some(10);
    std::this_thread::sleep_for(std::chrono::milliseconds(30));
  }
  EXPECT_NE(daemon.err().find("snapshots failed, the stream goes on"), std::string::npos)
      << daemon.err();
  ASSERT_EQ(prlimit(daemon.pid(), RLIMIT_FSIZE, &room, nullptr), 0);
  push_some(samples.size() - next);
  ExpectOutputs(subscriber.Get(samples.size()), samples);
  EXPECT_EQ(daemon.Stop(), 0) << daemon.err();
  EXPECT_GT(Summary()["snapshot_errors"], 0);
  EXPECT_GT(Summary()["snapshots"], 0);

  // What was kept is the state after the last sample.
  Daemon again(Pull("state_dir: state\n"), {"--wait-subscriber", "60"});
  ASSERT_TRUE(again.Ready()) << again.err();
  EXPECT_NE(again.err().find("at seq 300"), std::string::npos) << again.err();
  EXPECT_EQ(again.Stop(), 0);
}

TEST_F(XstdFaults, StateOfAnotherModelIsRefusedWithTheRemedy) {
  work_.Write("ecg.csv", "t,ecg\n0,1\n0.01,2\n");
  const std::string source = "{type: replay, file: ecg.csv, speed: 0}";
  Daemon daemon(Config(source, kAnyPort, "state_dir: state\n"), {"--wait-subscriber", "0"});
  EXPECT_EQ(daemon.Wait(), 0) << daemon.err();
  ExpectRefused(Config("{type: stdin}", kAnyPort, "state_dir: state\n", "classifier.xst"),
                {"stream ecg", work_ / "state/ecg.a", "remove"});
}

TEST_F(XstdFaults, AStateFolderServesOneDaemon) {
  Daemon daemon(Pull("state_dir: state\n"));
  ASSERT_TRUE(daemon.Ready()) << daemon.err();
  ExpectRefused(Pull("state_dir: state\n"), {"state_dir", "another xstd"});
  EXPECT_EQ(daemon.Stop(), 0);
}

TEST_F(XstdFaults, StopsWhileItWaits) {
  Daemon daemon(Pull(), Listening());
  ASSERT_TRUE(daemon.Ready()) << daemon.err();
  EXPECT_EQ(daemon.Stop(), 0);
  Daemon interrupted(Pull());
  ASSERT_TRUE(interrupted.Ready());
  interrupted.Signal(SIGINT);
  EXPECT_EQ(interrupted.Wait(), 0);
}

}  // namespace
}  // namespace xst::e2e
