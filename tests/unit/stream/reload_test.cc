// Models that change under a stream: what goes on, what starts afresh, and the races of it.
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "sdk/stream/loop.h"
#include "tests/support/vectors.h"
#include "tests/unit/stream/one_stream.h"

namespace xst::stream {
namespace {

constexpr char kModel[] = "stream/forecaster";

std::unique_ptr<Stream> Make(uint32_t queue = 64, uint32_t replay = 0) {
  StreamOptions options;
  options.queue = queue;
  options.replay = replay;
  return std::make_unique<Stream>(test::OpenCase(kModel), options, kEpoch);
}

// Of one stream, by its `seq`; used by the publisher's thread, then by the test's.
class Keeper : public Sink {
 public:
  void Write(const Stream& stream, const OutputHead& head, std::span<const float> y,
             std::span<const float>) override {
    all[&stream].push_back({head, {y.begin(), y.end()}, {}});
  }
  std::map<const Stream*, std::vector<Output>> all;
};

TEST(Reload, StepsSnapshotsPublishingAndSwapsBesideEachOther) {
  constexpr uint64_t kCount = 3000;
  std::vector<std::unique_ptr<Stream>> owned;
  std::vector<Stream*> streams;
  for (int i = 0; i < 3; ++i) {
    owned.push_back(Make(16));
    streams.push_back(owned.back().get());
  }
  Keeper keeper;
  Loop loop(streams);
  Publisher publisher(streams, {&keeper});
  loop.Start();
  publisher.Start();
  std::vector<std::jthread> sources;
  for (Stream* s : streams) {
    sources.emplace_back([s] {
      for (uint64_t i = 0; i < kCount; ++i) Offer(*s, i);
    });
  }
  const auto done = [&] {
    return std::all_of(streams.begin(), streams.end(), [&](const Stream* s) {
      return s->counts().samples == kCount && s->published();
    });
  };
  std::mt19937 random(1);
  std::vector<Checkpoint> kept;
  size_t swaps = 0;
  while (!done()) {
    for (Stream* s : streams) s->RequestCheckpoint();
    if (random() % 2) std::this_thread::yield();
    loop.Pause();
    const auto model = test::OpenCase(kModel);
    if (random() % 2) {
      Join(std::make_shared<Batch>(model, 3, 2), streams);
    } else {
      for (Stream* s : streams) s->Replace(MakeStepper(model));
    }
    std::rotate(streams.begin(), streams.begin() + 1, streams.end());
    publisher.SetStreams(streams);
    loop.SetStreams(streams);
    loop.Resume();
    ++swaps;
    for (Stream* s : streams) {
      if (const Checkpoint* c = s->FetchCheckpoint(); c && kept.size() < 20) kept.push_back(*c);
    }
    std::this_thread::sleep_for(std::chrono::microseconds(random() % 500));
  }
  sources.clear();
  loop.Stop();
  publisher.Stop();
  EXPECT_GT(swaps, 0u);
  Session session(test::OpenCase(kModel));
  std::vector<std::vector<float>> want;
  for (uint64_t i = 0; i < kCount; ++i) {
    const float x = Value(i);
    want.emplace_back(session.model()->info().output_width);
    session.step(std::span(&x, 1), want.back());
  }
  for (const Stream* s : streams) {
    const auto& got = keeper.all[s];
    ASSERT_EQ(got.size(), kCount);
    for (uint64_t i = 0; i < kCount; ++i) {
      ASSERT_EQ(got[i].head.seq, i);
      ASSERT_EQ(got[i].head.epoch, kEpoch);
      ASSERT_TRUE(SameBits(got[i].y, want[i])) << i;
    }
  }
  for (const Checkpoint& c : kept) {
    const auto again = Make();
    again->Restore(c);
    for (uint64_t i = c.position; i < std::min(c.position + 5, kCount); ++i) {
      Offer(*again, i);
      const auto out = StepAll(*again);
      ASSERT_EQ(out.size(), 1u);
      EXPECT_TRUE(SameBits(out[0].y, want[i]));
    }
  }
}

TEST(Reload, RenewIsAFreshStateBehindTheLastInputs) {
  for (const uint32_t replay : {0u, 4u, 50u}) {
    const auto stream = Make(64, replay);
    for (uint64_t i = 0; i < 20; ++i) Offer(*stream, i);
    StepAll(*stream);
    stream->Renew(MakeStepper(test::OpenCase(kModel)));
    Offer(*stream, 20);
    const auto out = StepAll(*stream);
    ASSERT_EQ(out.size(), 1u);
    EXPECT_EQ(out[0].head.seq, 20u);
    EXPECT_EQ(out[0].head.epoch, NextEpoch(kEpoch));
    EXPECT_EQ(out[0].head.quality & kReset, replay ? 0u : uint32_t{kReset});
    Session session(test::OpenCase(kModel));
    std::vector<float> y(stream->info().output_width);
    for (uint64_t i = 20 - std::min(replay, 20u); i <= 20; ++i) {
      const float x = Value(i);
      session.step(std::span(&x, 1), y);
    }
    EXPECT_TRUE(SameBits(out[0].y, y)) << replay;
  }
}

TEST(Reload, ReplaceRefusesAnotherArchitectureAndChangesNothing) {
  const auto stream = Make();
  Offer(*stream, 0);
  StepAll(*stream);
  EXPECT_THROW(stream->Replace(MakeStepper(test::OpenCase("stream/classifier"))), Error);
  EXPECT_FALSE(stream->Fits(test::OpenCase("stream/classifier")->info()));
  EXPECT_TRUE(stream->Fits(test::OpenCase(kModel)->info()));
  Offer(*stream, 1);
  Session session(test::OpenCase(kModel));
  std::vector<float> y(stream->info().output_width);
  for (uint64_t i = 0; i < 2; ++i) {
    const float x = Value(i);
    session.step(std::span(&x, 1), y);
  }
  EXPECT_TRUE(SameBits(StepAll(*stream)[0].y, y));
}

TEST(Reload, ACheckpointNotYetFetchedIsMadeAgain) {
  const auto stream = Make();
  Offer(*stream, 0);
  stream->RequestCheckpoint();
  EXPECT_TRUE(stream->Turn());
  EXPECT_FALSE(stream->Turn());
  stream->Replace(MakeStepper(test::OpenCase(kModel)));
  TakeAll(*stream);
  EXPECT_EQ(stream->FetchCheckpoint(), nullptr);
  EXPECT_FALSE(stream->Turn());
  ASSERT_NE(stream->FetchCheckpoint(), nullptr);
  EXPECT_EQ(stream->FetchCheckpoint()->seq, 1u);
}

}  // namespace
}  // namespace xst::stream
