// What the tests of sources share.
#pragma once

#include <gtest/gtest.h>

#include <chrono>
#include <limits>
#include <string>
#include <thread>
#include <vector>

#include "tests/e2e/daemon.h"

namespace xst::e2e {

inline const float kNan = std::numeric_limits<float>::quiet_NaN();
inline const std::vector<std::string> kWait = {"--wait-subscriber", "60"};

class SourcesTest : public testing::Test {
 protected:
  // One stream, ecg; `stream`: more keys of it, `more`: more keys at the top.
  std::string Config(const std::string& source, const std::string& stream = "",
                     const std::string& more = "") {
    return work_.Write("xstd.yaml", "publish: {endpoint: \"tcp://127.0.0.1:*\"}\n" + more +
                                        "streams:\n  - {name: ecg, model: forecaster.xst, " +
                                        (stream.empty() ? "" : stream + ", ") +
                                        "source: " + source + "}\n");
  }
  static std::string Record(uint64_t seq, float value) { return JsonSample(seq, value, 100); }

  void ExpectRun(const std::vector<Message>& messages, const std::vector<float>& samples) {
    const std::vector<std::string> names = {"next",        "next.sigma", "ahead",
                                            "ahead.sigma", "surprise",   "beat"};
    const auto want = XstRun(work_, "forecaster.xst", samples);
    ASSERT_EQ(messages.size(), samples.size());
    for (size_t i = 0; i < samples.size(); ++i) {
      ASSERT_EQ(messages[i].json["seq"], i);
      ASSERT_TRUE(SameValues(messages[i], names, want[i])) << messages[i].payload;
    }
  }

  // Waits until the daemon has said so.
  static void WaitFor(Daemon& daemon, const std::string& words) {
    while (daemon.err().find(words) == std::string::npos) {
      ASSERT_TRUE(daemon.Running()) << daemon.err();
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
  }

  Workspace work_;
  zmq::context_t context_;
};

}  // namespace xst::e2e
