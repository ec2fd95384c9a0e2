// SIGHUP while samples flow: what a reload changes, what it keeps, and what it refuses.
#include <gtest/gtest.h>

#include <chrono>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <random>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "formats/npy.h"
#include "tests/e2e/daemon.h"

namespace xst::e2e {
namespace {

namespace fs = std::filesystem;
constexpr double kRate = 100;
const std::vector<std::string> kNames = {"next",        "next.sigma", "ahead",
                                         "ahead.sigma", "surprise",   "beat"};

size_t Count(const std::string& text, const std::string& word) {
  size_t count = 0;
  for (size_t at = text.find(word); at != std::string::npos; at = text.find(word, at + 1)) ++count;
  return count;
}

std::string Replaced(std::string text, const std::string& from, const std::string& to,
                     bool everywhere = false) {
  size_t at = text.find(from);
  while (!from.empty() && at != std::string::npos) {
    text.replace(at, from.size(), to);
    at = everywhere ? text.find(from, at + to.size()) : std::string::npos;
  }
  return text;
}

class XstdReload : public testing::Test {
 protected:
  XstdReload() { Pack("first.xst"); }

  // The forecaster of the vectors with another text in its configuration, and a probe of its own,
  // so that no two files are the same.
  void Pack(const std::string& name, const std::string& from = "", const std::string& to = "",
            bool everywhere = false, const std::vector<std::string>& more = {}) {
    const fs::path source = fs::path(XST_TEST_DATA) / "stream/forecaster", folder = work_ / "pack";
    fs::create_directories(folder);
    fs::copy(source / "weights.safetensors", folder, fs::copy_options::overwrite_existing);
    std::ifstream file(source / "config.yaml");
    std::stringstream text;
    text << file.rdbuf();
    work_.Write("pack/config.yaml", Replaced(text.str(), from, to, everywhere));
    const std::vector<float> probe(8 + ++packed_, 0.25f);
    formats::WriteNpy(work_ / "probe.npy", {probe.size(), 1}, probe.data());
    std::vector<std::string> arguments = {"pack",       folder.string(), "-o",
                                          work_ / name, "--probe",       work_ / "probe.npy"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    const Finished run = RunProgram("xst", arguments);
    ASSERT_EQ(run.status, 0) << run.err;
  }
  void Use(const std::string& name) {  // at once, as a careful user would
    fs::copy_file(work_ / name, work_ / "next.xst", fs::copy_options::overwrite_existing);
    fs::rename(work_ / "next.xst", work_ / "live.xst");
  }
  std::string Stream(const std::string& name, const std::string& more = "") {
    return "  - {name: " + name + ", model: live.xst, source: {type: pull, endpoint: \"ipc://" +
           (work_ / name) + "\"}" + more + "}\n";
  }
  std::string Config(const std::string& streams, const std::string& top = "") {
    const std::string next =
        work_.Write("next.yaml", "publish: {endpoint: \"ipc://" + (work_ / "pub") + "\"}\n" + top +
                                     "streams:\n" + streams);
    fs::rename(next, work_ / "xstd.yaml");  // a reload that still goes on reads it whole
    return work_ / "xstd.yaml";
  }
  void Await(const Daemon& daemon, const std::string& words, size_t count = 1) {
    for (int i = 0; i < 6000 && Count(daemon.err(), words) < count; ++i) {
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    ASSERT_GE(Count(daemon.err(), words), count) << daemon.err();
  }
  void Reload(Daemon& daemon) {
    const size_t before = Count(daemon.err(), "reloaded: ");
    daemon.Signal(SIGHUP);
    Await(daemon, "reloaded: ", before + 1);
  }
  void PushSome(zmq::socket_t& push, const std::vector<float>& samples, size_t begin, size_t end) {
    for (size_t i = begin; i < end; ++i) Push(push, JsonSample(i, samples[i], kRate));
  }
  // Outputs begin.. are rows of `want` from `row` on.
  void ExpectRows(const std::vector<Message>& got, size_t begin, size_t end,
                  const std::vector<std::vector<float>>& want, size_t row) {
    ASSERT_GE(got.size(), end);
    for (size_t i = begin; i < end; ++i) {
      ASSERT_EQ(got[i].json["seq"], i);
      ASSERT_TRUE(SameValues(got[i], kNames, want[row + i - begin])) << i << got[i].payload;
    }
  }
  // `xst run` on `begin`.. behind what `model` made of the samples before.
  std::vector<std::vector<float>> RunWith(const std::string& first, const std::string& second,
                                          const std::vector<float>& samples, size_t begin) {
    const std::string in = work_ / "in.npy", out = work_ / "out.npy", state = work_ / "state.bin";
    formats::WriteNpy(in, {begin, 1}, samples.data());
    EXPECT_EQ(RunProgram("xst", {"run", work_ / first, "--input", in, "--output", out,
                                 "--state-out", state})
                  .status,
              0);
    formats::WriteNpy(in, {samples.size() - begin, 1}, samples.data() + begin);
    const Finished run = RunProgram(
        "xst", {"run", work_ / second, "--input", in, "--output", out, "--state-in", state});
    EXPECT_EQ(run.status, 0) << run.err;
    const formats::Array y = formats::ReadNpy(out);
    std::vector<std::vector<float>> rows;
    for (size_t i = 0; i < samples.size() - begin; ++i) {
      rows.emplace_back(y.f32.begin() + static_cast<ptrdiff_t>(i * kNames.size()),
                        y.f32.begin() + static_cast<ptrdiff_t>((i + 1) * kNames.size()));
    }
    return rows;
  }

  Workspace work_;
  zmq::context_t context_;
  size_t packed_ = 0;
  const std::vector<std::string> wait_ = {"--wait-subscriber", "60", "--snapshot-every", "0.05"};
};

TEST_F(XstdReload, OfTheSameWeightsAtAnyTimeLosesNothingAndStepsNothingTwice) {
  constexpr size_t kCount = 2500;
  const auto samples = Signal(kCount);
  Pack("second.xst");
  Use("first.xst");
  const std::string two = Stream("a") + Stream("b"), three = two + Stream("c");
  Daemon daemon(Config(two, "state_dir: state\n"), wait_);
  ASSERT_TRUE(daemon.Ready()) << daemon.err();
  Subscriber a(context_, daemon.endpoint("publish"), "a/");
  Subscriber b(context_, daemon.endpoint("publish"), "b/");
  auto push_a = Pusher(context_, daemon.endpoint("a"));
  auto push_b = Pusher(context_, daemon.endpoint("b"));
  std::mt19937 random(5);
  size_t next = 0;
  for (int round = 0; next < kCount; ++round) {
    const size_t until = std::min<size_t>(kCount, next + 1 + random() % 250);
    PushSome(push_a, samples, next, until);
    PushSome(push_b, samples, next, until);
    next = until;
    std::this_thread::sleep_for(std::chrono::milliseconds(random() % 30));
    if (random() % 4 == 0) continue;
    Use(round % 2 ? "first.xst" : "second.xst");
    Config(random() % 2 ? two : three, "state_dir: state\n");
    daemon.Signal(SIGHUP);
  }
  const auto want = XstRun(work_, "first.xst", samples);
  for (const auto& got : {a.Get(kCount), b.Get(kCount)}) {
    ASSERT_EQ(got.size(), kCount) << daemon.err();
    ExpectRows(got, 0, kCount, want, 0);
    EXPECT_EQ(got.back().json["epoch"], got.front().json["epoch"]);
  }
  EXPECT_EQ(daemon.Stop(), 0) << daemon.err();
  EXPECT_GE(Count(daemon.err(), "reloaded: "), 1u) << daemon.err();
  EXPECT_EQ(Count(daemon.err(), "error"), 0u) << daemon.err();
}

TEST_F(XstdReload, KeepsTheStateForOtherWeightsOfTheArchitecture) {
  const auto samples = Signal(200);
  Pack("rounded.xst", "", "", false, {"--dtype", "bf16"});
  Use("first.xst");
  const std::string config = Config(Stream("a"), "state_dir: state\n");
  const auto want = XstRun(work_, "first.xst", samples);
  const auto rounded = RunWith("first.xst", "rounded.xst", samples, 100);
  std::vector<Message> got;
  {
    Daemon daemon(config, wait_);
    ASSERT_TRUE(daemon.Ready()) << daemon.err();
    Subscriber subscriber(context_, daemon.endpoint("publish"));
    auto push = Pusher(context_, daemon.endpoint("a"));
    PushSome(push, samples, 0, 100);
    subscriber.Get(100);
    Use("rounded.xst");
    Reload(daemon);
    PushSome(push, samples, 100, 150);
    got = subscriber.Get(150);
    ExpectRows(got, 0, 100, want, 0);
    ExpectRows(got, 100, 150, rounded, 0);
    EXPECT_EQ(got[149].json["epoch"], got[0].json["epoch"]);
    EXPECT_EQ(daemon.Stop(), 0) << daemon.err();
  }
  // What was kept is of the new model.
  Daemon daemon(config, wait_);
  ASSERT_TRUE(daemon.Ready()) << daemon.err();
  Subscriber subscriber(context_, daemon.endpoint("publish"));
  auto push = Pusher(context_, daemon.endpoint("a"));
  PushSome(push, samples, 150, 200);
  for (const Message& m : subscriber.Get(50)) got.push_back(m);
  ExpectRows(got, 150, 200, rounded, 50);
  EXPECT_EQ(daemon.Stop(), 0) << daemon.err();
}

TEST_F(XstdReload, AnotherArchitectureStartsAfreshOrBehindTheLastInputs) {
  const auto samples = Signal(60);
  Pack("warming.xst", "  rate_hz: 100", "  rate_hz: 100\n  warmup: 8");
  for (const size_t replay : {0, 5}) {
    Use("first.xst");
    const std::string policy = ", on_reload: {replay: " + std::to_string(replay) + "}";
    Daemon daemon(Config(Stream("a", policy)), wait_);
    ASSERT_TRUE(daemon.Ready()) << daemon.err();
    Subscriber subscriber(context_, daemon.endpoint("publish"));
    auto push = Pusher(context_, daemon.endpoint("a"));
    PushSome(push, samples, 0, 30);
    subscriber.Get(30);
    Use("warming.xst");
    Reload(daemon);
    PushSome(push, samples, 30, 60);
    const auto got = subscriber.Get(60);
    const std::vector<float> seen(samples.begin() + 30 - static_cast<ptrdiff_t>(replay),
                                  samples.end());
    ExpectRows(got, 30, 60, XstRun(work_, "warming.xst", seen), replay);
    EXPECT_NE(got[30].json["epoch"], got[29].json["epoch"]);
    EXPECT_EQ(got[59].json["epoch"], got[30].json["epoch"]);
    EXPECT_EQ(got[30].json["quality"].get<int>() & (4 | 32), replay ? 4 : 4 | 32);
    EXPECT_EQ(got[38 - replay].json["quality"].get<int>() & 4, 0);
    EXPECT_EQ(daemon.Stop(), 0) << daemon.err();
  }
}

TEST_F(XstdReload, WhatIsNotGoodChangesNothing) {
  const auto samples = Signal(100);
  Use("first.xst");
  const std::string good = Stream("a");
  Daemon daemon(Config(good), wait_);
  ASSERT_TRUE(daemon.Ready()) << daemon.err();
  Subscriber subscriber(context_, daemon.endpoint("publish"));
  auto push = Pusher(context_, daemon.endpoint("a"));
  size_t next = 0, refused = 0;
  const auto expect_refused = [&](const std::string& words) {
    daemon.Signal(SIGHUP);
    Await(daemon, "reload refused", ++refused);
    EXPECT_NE(daemon.err().find(words), std::string::npos) << words << daemon.err();
    PushSome(push, samples, next, next + 10);
    next += 10;
    subscriber.Get(next);
  };
  Config(good + "    port: 1\n");
  expect_refused("xstd.yaml:");
  Config(good + Replaced(Stream("b"), "live.xst", "none.xst"));
  expect_refused("stream b: ");
  Config(good);
  work_.Write("live.xst", "not a model");
  expect_refused("live.xst: ");
  // Whole and well, but without a probe.
  fs::copy_file(work_ / "forecaster.xst", work_ / "live.xst", fs::copy_options::overwrite_existing);
  expect_refused("probe");
  Use("first.xst");
  Config(good + "  - {name: r, model: live.xst, source: {type: replay, file: none.csv}}\n",
         "state_dir: state\n");
  expect_refused("none.csv");
  Config(good, "state_dir: state\n");
  Reload(daemon);
  EXPECT_NE(daemon.err().find("needs a restart to change: state_dir"), std::string::npos);
  PushSome(push, samples, next, samples.size());
  const auto got = subscriber.Get(samples.size());
  ExpectRows(got, 0, samples.size(), XstRun(work_, "first.xst", samples), 0);
  EXPECT_EQ(got.back().json["epoch"], got.front().json["epoch"]);
  EXPECT_EQ(daemon.Stop(), 0) << daemon.err();
}

TEST_F(XstdReload, StreamsComeGoAndChangeTheirSource) {
  const auto samples = Signal(90);
  const auto want = XstRun(work_, "first.xst", samples);
  Use("first.xst");
  Daemon daemon(Config(Stream("a") + Stream("b"), "state_dir: state\n"), wait_);
  ASSERT_TRUE(daemon.Ready()) << daemon.err();
  Subscriber a(context_, daemon.endpoint("publish"), "a/");
  Subscriber b(context_, daemon.endpoint("publish"), "b/");
  auto push_a = Pusher(context_, daemon.endpoint("a"));
  {
    auto push_b = Pusher(context_, daemon.endpoint("b"));
    PushSome(push_a, samples, 0, 30);
    PushSome(push_b, samples, 0, 30);
    a.Get(30);
    b.Get(30);
  }
  // b goes; a takes its samples elsewhere, through a longer queue.
  const std::string moved = Replaced(Stream("a", ", queue: 64"), work_ / "a", work_ / "a2");
  Config(moved, "state_dir: state\n");
  Reload(daemon);
  EXPECT_TRUE(fs::exists(work_ / "state/b.a"));
  auto push_a2 = Pusher(context_, "ipc://" + (work_ / "a2"));
  PushSome(push_a2, samples, 30, 60);
  a.Get(60);
  // b comes back and goes on where it was.
  Config(moved + Stream("b"), "state_dir: state\n");
  Reload(daemon);
  auto push_b = Pusher(context_, "ipc://" + (work_ / "b"));
  PushSome(push_a2, samples, 60, 90);
  PushSome(push_b, samples, 30, 90);
  for (const auto& got : {a.Get(90), b.Get(90)}) {
    ExpectRows(got, 0, 90, want, 0);
    EXPECT_EQ(got.back().json["epoch"], got.front().json["epoch"]);
  }
  EXPECT_EQ(daemon.Stop(), 0) << daemon.err();
}

TEST_F(XstdReload, OtherInputsRemakeTheStream) {
  const auto samples = Signal(60);
  Pack("renamed.xst", "ecg", "ekg", true);
  Use("first.xst");
  Daemon daemon(Config(Stream("a")), wait_);
  ASSERT_TRUE(daemon.Ready()) << daemon.err();
  Subscriber subscriber(context_, daemon.endpoint("publish"));
  auto push = Pusher(context_, daemon.endpoint("a"));
  PushSome(push, samples, 0, 30);
  subscriber.Get(30);
  Use("renamed.xst");
  Reload(daemon);
  PushSome(push, samples, 30, 60);
  const auto got = subscriber.Get(60);
  const std::vector<float> rest(samples.begin() + 30, samples.end());
  ExpectRows(got, 30, 60, XstRun(work_, "renamed.xst", rest), 0);
  EXPECT_NE(got[30].json["epoch"], got[29].json["epoch"]);
  EXPECT_TRUE(got[30].json["x"].contains("ekg")) << got[30].payload;
  EXPECT_EQ(daemon.Stop(), 0) << daemon.err();
}

TEST_F(XstdReload, AStateOfAnotherModelIsTakenWhereThePolicySaysSo) {
  const auto samples = Signal(40);
  Pack("warming.xst", "  rate_hz: 100", "  rate_hz: 100\n  warmup: 8");
  Use("first.xst");
  std::vector<Message> got;
  for (const size_t begin : {0, 20}) {
    Daemon daemon(Config(Stream("a", begin ? ", on_reload: {}" : ""), "state_dir: state\n"), wait_);
    ASSERT_TRUE(daemon.Ready()) << daemon.err();
    Subscriber subscriber(context_, daemon.endpoint("publish"));
    auto push = Pusher(context_, daemon.endpoint("a"));
    PushSome(push, samples, begin, begin + 20);
    for (const Message& m : subscriber.Get(20)) got.push_back(m);
    EXPECT_EQ(daemon.Stop(), 0) << daemon.err();
    Use("warming.xst");
  }
  const std::vector<float> rest(samples.begin() + 20, samples.end());
  ExpectRows(got, 20, 40, XstRun(work_, "warming.xst", rest), 0);
  EXPECT_NE(got[20].json["epoch"], got[19].json["epoch"]);
}

TEST_F(XstdReload, AStateOfOtherWeightsIsTakenAtAStartToo) {
  const auto samples = Signal(40);
  std::fstream weights(work_ / "pack/weights.safetensors",
                       std::ios::in | std::ios::out | std::ios::binary);
  weights.seekg(-4, std::ios::end);
  const char lowest = static_cast<char>(weights.get() ^ 1);  // byte of the last float
  weights.seekp(-4, std::ios::end);
  weights.put(lowest);
  weights.close();
  ASSERT_EQ(RunProgram("xst", {"pack", work_ / "pack", "-o", work_ / "other.xst"}).status, 0);
  Use("first.xst");
  std::vector<Message> got;
  for (const size_t begin : {0, 20}) {
    Daemon daemon(Config(Stream("a"), "state_dir: state\n"), wait_);
    ASSERT_TRUE(daemon.Ready()) << daemon.err();
    Subscriber subscriber(context_, daemon.endpoint("publish"));
    auto push = Pusher(context_, daemon.endpoint("a"));
    PushSome(push, samples, begin, begin + 20);
    for (const Message& m : subscriber.Get(20)) got.push_back(m);
    EXPECT_EQ(daemon.Stop(), 0) << daemon.err();
    Use("other.xst");
  }
  EXPECT_EQ(got[20].json["seq"], 20);
  EXPECT_NE(got[20].json["epoch"], got[19].json["epoch"]);
  EXPECT_EQ(got[20].json["quality"].get<int>() & 32, 0);
}

}  // namespace
}  // namespace xst::e2e
