// The daemon on a disk that fails now and then: the streams go on, every failed snapshot is counted
// and the next one is good.
#include <gtest/gtest.h>

#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <thread>

#include "tests/e2e/daemon.h"

namespace xst::e2e {
namespace {

namespace fs = std::filesystem;
constexpr double kRate = 100;
const std::vector<std::string> kNames = {"next",        "next.sigma", "ahead",
                                         "ahead.sigma", "surprise",   "beat"};

class Environment {
 public:
  ~Environment() {
    for (const std::string& name : names_) unsetenv(name.c_str());
  }
  void Set(const std::string& name, const std::string& value) {
    setenv(name.c_str(), value.c_str(), 1);
    names_.push_back(name);
  }

 private:
  std::vector<std::string> names_;
};

TEST(DaemonFaults, ABadDiskCostsSnapshotsOnly) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "the sanitizer must be loaded first";
#endif
  constexpr std::pair<const char*, int> kFailures[] = {
      {"open:2", EROFS},      {"open:4", EACCES}, {"open:5", EMFILE},  {"write:2", ENOSPC},
      {"write:4", EROFS},     {"write:5", EIO},   {"write:6", ENOSPC}, {"ftruncate:2", EIO},
      {"ftruncate:4", EROFS}, {"fsync:2", EIO},   {"fsync:3", ENOSPC}, {"fsync:5", EROFS}};
  std::string plan;
  for (const auto& [call, number] : kFailures) {
    plan += std::string(call) + ":" + std::to_string(number) + " ";
  }
  const Workspace work;
  const std::string config =
      work.Write("xstd.yaml",
                 "publish: {endpoint: \"tcp://127.0.0.1:*\"}\nstate_dir: state\n"
                 "streams: [{name: ecg, model: forecaster.xst,\n"
                 "           source: {type: pull, endpoint: \"tcp://127.0.0.1:*\"}}]\n");
  const auto samples = Signal(20000);
  size_t next = 0;
  {
    Environment environment;
    environment.Set("XST_FAULT_FILES", "*/state/ecg.[ab]");
    environment.Set("XST_FAULT_PLAN", plan);
    environment.Set("XST_FAULT_LOG", work / "failures");
    environment.Set("LD_PRELOAD", XST_DISK_FAULTS);
    Daemon daemon(config, {"--wait-subscriber", "60", "--snapshot-every", "0.01", "--summary",
                           work / "summary.json"});
    ASSERT_TRUE(daemon.Ready()) << daemon.err();
    zmq::context_t context;
    Subscriber subscriber(context, daemon.endpoint("publish"));
    auto push = Pusher(context, daemon.endpoint("ecg"));
    const auto push_some = [&] {
      for (int i = 0; i < 5; ++i, ++next) Push(push, JsonSample(next, samples[next], kRate));
      ASSERT_GE(subscriber.Get(next).size(), next) << daemon.err();
    };
    while (!fs::exists(work / "failures") ||
           fs::file_size(work / "failures") < std::size(kFailures)) {
      ASSERT_LT(next + 10, samples.size()) << "the failures did not all happen";
      push_some();
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    push_some();
    EXPECT_EQ(daemon.Stop(), 0) << daemon.err();
    const auto messages = subscriber.Get(next);
    ASSERT_EQ(messages.size(), next);
    const auto want = XstRun(work, "forecaster.xst", {samples.begin(), samples.begin() + next});
    for (size_t i = 0; i < next; ++i) {
      ASSERT_EQ(messages[i].json["seq"], i);
      ASSERT_TRUE(SameValues(messages[i], kNames, want[i])) << messages[i].payload;
    }
    EXPECT_NE(daemon.err().find("snapshots failed, the stream goes on"), std::string::npos)
        << daemon.err();
  }
  std::ifstream file(work / "summary.json");
  const auto summary = nlohmann::json::parse(file)["streams"][0];
  EXPECT_EQ(summary["snapshot_errors"], std::size(kFailures));
  EXPECT_GT(summary["snapshots"], 1);

  Daemon again(config, {"--wait-subscriber", "60"});
  ASSERT_TRUE(again.Ready()) << again.err();
  EXPECT_NE(again.err().find("at seq " + std::to_string(next)), std::string::npos) << again.err();
  EXPECT_EQ(again.Stop(), 0);
}

}  // namespace
}  // namespace xst::e2e
