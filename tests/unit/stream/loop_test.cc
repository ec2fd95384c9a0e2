// The threads: sources, step and publisher beside each other.
#include "sdk/stream/loop.h"

#include <gtest/gtest.h>

#include <chrono>
#include <cmath>
#include <cstring>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "tests/support/vectors.h"

namespace xst::stream {
namespace {

constexpr char kModel[] = "stream/forecaster";

float Value(uint64_t i) { return std::sin(0.1f * static_cast<float>(i)); }

// Offers `count` samples from where the stream stands.
class CountingSource : public Source {
 public:
  explicit CountingSource(uint64_t count) : count_(count) {}
  void Run(Stream& stream, std::stop_token stop) override {
    for (uint64_t i = stream.start_position(); i < count_; ++i) {
      SampleHead head;
      head.receive_ns = NowNs();
      head.has_seq = true;
      head.seq = i;
      head.position = i + 1;
      const float x[] = {Value(i)};
      if (stop.stop_requested() || !stream.Offer(head, x, stop)) return;
    }
  }

 private:
  const uint64_t count_;
};

class KeepingSink : public Sink {
 public:
  explicit KeepingSink(std::chrono::microseconds pause = {}) : pause_(pause) {}
  void Write(const Stream& stream, const OutputHead& head, std::span<const float> y,
             std::span<const float>) override {
    std::this_thread::sleep_for(pause_);
    const std::lock_guard lock(mutex_);
    auto& out = outputs_[stream.options().name];
    out.emplace_back(head.seq, std::vector<float>(y.begin(), y.end()));
  }
  std::vector<std::pair<uint64_t, std::vector<float>>> Of(const std::string& name) {
    const std::lock_guard lock(mutex_);
    return outputs_[name];
  }

 private:
  const std::chrono::microseconds pause_;
  std::mutex mutex_;
  std::map<std::string, std::vector<std::pair<uint64_t, std::vector<float>>>> outputs_;
};

std::unique_ptr<Stream> Make(const std::string& name, uint32_t queue) {
  StreamOptions options;
  options.name = name;
  options.queue = queue;
  return std::make_unique<Stream>(test::OpenCase(kModel), options, 1);
}

void ExpectWhole(const std::vector<std::pair<uint64_t, std::vector<float>>>& got, uint64_t count) {
  ASSERT_EQ(got.size(), count);
  Session session(test::OpenCase(kModel));
  std::vector<float> want(session.model()->info().output_width);
  uint64_t wrong = 0;
  for (uint64_t i = 0; i < count; ++i) {
    const float x[] = {Value(i)};
    session.step(x, want);
    wrong += got[i].first != i ||
             std::memcmp(got[i].second.data(), want.data(), want.size() * sizeof(float)) != 0;
  }
  EXPECT_EQ(wrong, 0u);
}

void WaitDone(const Stream& stream) {
  while (!stream.idle() || !stream.published()) std::this_thread::yield();
}

TEST(Loop, StreamsShareTheStepAndLoseNothing) {
  constexpr uint64_t kCount = 4000;
  std::vector<std::unique_ptr<Stream>> streams;
  std::vector<Stream*> all;
  for (const char* name : {"a", "b", "c"}) {
    streams.push_back(Make(name, 16));
    all.push_back(streams.back().get());
  }
  KeepingSink sink;
  Loop loop(all);
  Publisher publisher(all, {&sink});
  loop.Start();
  publisher.Start();
  std::vector<std::jthread> sources;
  for (Stream* s : all) {
    sources.emplace_back([s](std::stop_token stop) { CountingSource(kCount).Run(*s, stop); });
  }
  for (auto& t : sources) t.join();
  for (Stream* s : all) WaitDone(*s);
  loop.Stop();
  publisher.Stop();
  for (const char* name : {"a", "b", "c"}) ExpectWhole(sink.Of(name), kCount);
}

TEST(Loop, ASlowSinkHoldsTheSourceAndLosesNothing) {
  constexpr uint64_t kCount = 3000;  // more than both rings hold
  const auto stream = Make("a", 8);
  KeepingSink sink(std::chrono::microseconds(20));
  Loop loop({stream.get()});
  Publisher publisher({stream.get()}, {&sink});
  loop.Start();
  std::jthread source([&](std::stop_token stop) { CountingSource(kCount).Run(*stream, stop); });
  while (stream->counts().outputs < 1024) std::this_thread::yield();  // the ring out is full
  publisher.Start();
  source.join();
  WaitDone(*stream);
  loop.Stop();
  publisher.Stop();
  ExpectWhole(sink.Of("a"), kCount);
}

TEST(Loop, ReadersOfCountsAndCheckpointsDisturbNothing) {
  constexpr uint64_t kCount = 3000;
  const auto stream = Make("a", 64);
  KeepingSink sink;
  Loop loop({stream.get()});
  Publisher publisher({stream.get()}, {&sink});
  loop.Start();
  publisher.Start();
  std::vector<Checkpoint> kept;
  {
    std::jthread source([&](std::stop_token stop) { CountingSource(kCount).Run(*stream, stop); });
    uint64_t last = 0;
    bool asked = false;
    while (last < kCount) {
      const StreamCounts counts = stream->counts();
      EXPECT_GE(counts.samples, last);
      last = counts.samples;
      const double median = stream->step_time().Quantile(0.5);
      EXPECT_LE(median, static_cast<double>(stream->step_time().max_ns()));
      if (!asked) {
        stream->RequestCheckpoint();
        asked = true;
      } else if (const Checkpoint* c = stream->FetchCheckpoint()) {
        if (kept.size() < 20) kept.push_back(*c);
        asked = false;
      }
    }
  }
  WaitDone(*stream);
  loop.Stop();
  publisher.Stop();
  ExpectWhole(sink.Of("a"), kCount);
  ASSERT_FALSE(kept.empty());
  // Every one of them continues to the same outputs.
  const auto want = sink.Of("a");
  for (const Checkpoint& c : kept) {
    const auto again = Make("a", 64);
    again->Restore(c);
    KeepingSink rest;
    Loop second({again.get()});
    Publisher out({again.get()}, {&rest});
    second.Start();
    out.Start();
    CountingSource(std::min<uint64_t>(kCount, c.position + 50)).Run(*again, {});
    WaitDone(*again);
    second.Stop();
    out.Stop();
    for (const auto& [seq, y] : rest.Of("a")) {
      EXPECT_EQ(std::memcmp(y.data(), want[seq].second.data(), y.size() * sizeof(float)), 0);
    }
    EXPECT_EQ(rest.Of("a").size(), std::min<uint64_t>(50, kCount - c.position));
  }
}

TEST(Loop, StopsIdleAndStartsAgain) {
  const auto stream = Make("a", 8);
  KeepingSink sink;
  Publisher publisher({stream.get()}, {&sink});
  publisher.Start();
  Loop loop({stream.get()});
  // Stopped at any moment of its first turn.
#ifdef XST_EMULATED
  constexpr int kRounds = 1000;
#else
  constexpr int kRounds = 20000;
#endif
  for (int round = 0; round < kRounds; ++round) {
    loop.Start();
    const auto until = std::chrono::steady_clock::now() + std::chrono::microseconds(round % 64);
    while (std::chrono::steady_clock::now() < until) {
    }
    loop.Stop();
  }
  loop.Start();
  CountingSource(10).Run(*stream, {});
  WaitDone(*stream);
  loop.Stop();
  publisher.Stop();
  ExpectWhole(sink.Of("a"), 10);
}

}  // namespace
}  // namespace xst::stream
