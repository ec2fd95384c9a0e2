// Streams of one model in one batch: what each gives is what it gives alone.
#include "sdk/stream/batch.h"

#include <gtest/gtest.h>

#include <algorithm>
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

struct Arrival {
  uint64_t seq = 0;
  float x = 0;
};

std::unique_ptr<Stream> Make(const std::string& name, uint32_t queue = 64) {
  StreamOptions options;
  options.name = name;
  options.queue = queue;
  return std::make_unique<Stream>(test::OpenCase(kModel), options, kEpoch);
}

void OfferTo(Stream& stream, const Arrival& a) {
  ASSERT_TRUE(stream.Offer(Numbered(a.seq), std::span(&a.x, 1), {}));
}

// Samples with missing values, duplicates, gaps that are held and gaps that reset.
std::vector<Arrival> RandomArrivals(uint32_t seed, size_t count) {
  std::mt19937 random(seed);
  std::vector<Arrival> all;
  uint64_t seq = 0;
  for (size_t i = 0; i < count; ++i) {
    const auto kind = static_cast<uint32_t>(random() % 40);
    if (kind == 0) seq += 1 + random() % 30;
    const bool again = kind == 1 && seq > 0;
    all.push_back({again ? seq - 1 : seq, kind == 2 ? kNan : Value(seq + seed)});
    if (!again) ++seq;
  }
  return all;
}

std::vector<Output> Alone(const std::vector<Arrival>& arrivals) {
  const auto stream = Make("alone");
  std::vector<Output> all;
  for (const Arrival& a : arrivals) {
    OfferTo(*stream, a);
    for (Output& o : StepAll(*stream)) all.push_back(std::move(o));
  }
  return all;
}

void ExpectSame(const std::vector<Output>& got, const std::vector<Output>& want) {
  ASSERT_EQ(got.size(), want.size());
  for (size_t i = 0; i < want.size(); ++i) {
    ASSERT_TRUE(SameBits(got[i].y, want[i].y)) << i;
    ASSERT_TRUE(SameBits(got[i].x, want[i].x)) << i;
    ASSERT_EQ(got[i].head.seq, want[i].head.seq);
    ASSERT_EQ(got[i].head.epoch, want[i].head.epoch);
    ASSERT_EQ(got[i].head.t, want[i].head.t);
    ASSERT_EQ(got[i].head.gap_s, want[i].head.gap_s);
    ASSERT_EQ(got[i].head.quality & ~uint32_t{kLate}, want[i].head.quality & ~uint32_t{kLate});
  }
}

struct Streams {
  explicit Streams(uint32_t count, uint32_t least = 2, uint32_t queue = 64)
      : batch(std::make_shared<Batch>(test::OpenCase(kModel), count, least)) {
    for (uint32_t i = 0; i < count; ++i) {
      owned.push_back(Make(std::to_string(i), queue));
      all.push_back(owned.back().get());
    }
    Join(batch, all);
  }

  std::shared_ptr<Batch> batch;
  std::vector<std::unique_ptr<Stream>> owned;
  std::vector<Stream*> all;
};

TEST(Batch, StreamsGiveWhatTheyGiveAloneWhateverTheArrivals) {
  for (const uint32_t least : {2u, 4u, 7u}) {
    Streams streams(7, least, 400);
    Loop loop(streams.all);
    loop.Arrange();
    std::vector<std::vector<Arrival>> arrivals;
    std::vector<std::vector<Output>> got(7);
    for (uint32_t i = 0; i < 7; ++i) arrivals.push_back(RandomArrivals(i, 300));
    std::vector<size_t> next(7);
    std::mt19937 random(least);
    bool left = true;
    while (left) {
      left = false;
      for (uint32_t i = 0; i < 7; ++i) {
        for (uint32_t n = random() % 4; n > 0 && next[i] < arrivals[i].size(); --n) {
          OfferTo(*streams.all[i], arrivals[i][next[i]++]);
        }
        left |= next[i] < arrivals[i].size();
      }
      for (uint32_t turns = random() % 4; turns > 0 || !left; --turns) {
        if (!loop.Turn()) break;
      }
      for (uint32_t i = 0; i < 7; ++i) {
        for (Output& o : TakeAll(*streams.all[i])) got[i].push_back(std::move(o));
      }
    }
    for (uint32_t i = 0; i < 7; ++i) {
      SCOPED_TRACE(i);
      for (Output& o : TakeAll(*streams.all[i])) got[i].push_back(std::move(o));
      EXPECT_TRUE(streams.all[i]->idle());
      ExpectSame(got[i], Alone(arrivals[i]));
    }
  }
}

TEST(Batch, StreamsGiveWhatTheyGiveAloneBesideTheirSources) {
  constexpr uint32_t kStreams = 5;
  Streams streams(kStreams, 2, 8);
  std::vector<std::vector<Arrival>> arrivals;
  std::vector<std::vector<Output>> got(kStreams);
  for (uint32_t i = 0; i < kStreams; ++i) arrivals.push_back(RandomArrivals(10 + i, 1500));
  Loop loop(streams.all);
  loop.Start();
  {
    std::vector<std::jthread> sources;
    for (uint32_t i = 0; i < kStreams; ++i) {
      sources.emplace_back([&, i] {
        std::mt19937 random(i);
        for (const Arrival& a : arrivals[i]) {
          OfferTo(*streams.all[i], a);
          if (random() % 64 == 0) std::this_thread::sleep_for(std::chrono::microseconds(100));
        }
      });
    }
    bool all_done = false;
    while (!all_done) {
      all_done = true;
      for (uint32_t i = 0; i < kStreams; ++i) {
        const bool done = streams.all[i]->counts().samples == arrivals[i].size();
        for (Output& o : TakeAll(*streams.all[i])) got[i].push_back(std::move(o));
        all_done &= done;
      }
    }
  }
  loop.Stop();
  for (uint32_t i = 0; i < kStreams; ++i) {
    SCOPED_TRACE(i);
    ExpectSame(got[i], Alone(arrivals[i]));
  }
}

TEST(Batch, ACheckpointGoesToALoneStreamAndBack) {
  const std::vector<Arrival> arrivals = RandomArrivals(3, 200);
  const auto want = Alone(arrivals);
  for (const bool from_batch : {true, false}) {
    Streams first(3), second(3);
    const auto lone = Make("lone");
    Stream& before = from_batch ? *first.all[1] : *lone;
    Stream& after = from_batch ? *lone : *second.all[2];
    Loop loop({&before});
    loop.Arrange();
    for (size_t i = 0; i < 50; ++i) OfferTo(before, arrivals[i]);
    while (loop.Turn()) {
    }
    auto got = TakeAll(before);
    before.RequestCheckpoint();
    EXPECT_FALSE(loop.Turn());
    ASSERT_NE(before.FetchCheckpoint(), nullptr);
    after.Restore(*before.FetchCheckpoint());
    for (size_t i = 50; i < arrivals.size(); ++i) {
      OfferTo(after, arrivals[i]);
      for (Output& o : StepAll(after)) got.push_back(std::move(o));
    }
    ExpectSame(got, want);
  }
}

TEST(Batch, JoiningAndLeavingKeepTheState) {
  const std::vector<Arrival> arrivals = RandomArrivals(4, 120);
  const auto want = Alone(arrivals);
  const auto stream = Make("s");
  std::vector<Output> got;
  for (size_t i = 0; i < arrivals.size(); ++i) {
    if (i % 20 == 10) {
      Join(std::make_shared<Batch>(test::OpenCase(kModel), 2, 2), std::vector{stream.get()});
    } else if (i % 20 == 0) {
      stream->Replace(MakeStepper(test::OpenCase(kModel)));
    }
    OfferTo(*stream, arrivals[i]);
    for (Output& o : StepAll(*stream)) got.push_back(std::move(o));
  }
  ExpectSame(got, want);
}

TEST(Batch, AFullStreamDoesNotStarveTheOthers) {
  Streams streams(3, 2, 600);
  const auto lone = Make("lone", 600);
  std::vector<Stream*> all = streams.all;
  all.push_back(lone.get());
  Loop loop(all);
  loop.Arrange();
  for (uint64_t i = 0; i < 500; ++i) {
    Offer(*streams.all[0], i);
    Offer(*lone, i);
  }
  for (uint64_t i = 0; i < 3; ++i) {
    Offer(*streams.all[1], i);
    EXPECT_TRUE(loop.Turn());
    EXPECT_TRUE(streams.all[1]->idle());
    EXPECT_EQ(streams.all[0]->counts().samples, i + 1);
    EXPECT_EQ(lone->counts().samples, i + 1);
  }
}

TEST(Batch, IsMeasured) {
  const auto model = test::OpenCase(kModel);
  EXPECT_EQ(Batch::MakeIfFaster(model, 1), nullptr);
  EXPECT_EQ(Batch::MakeIfFaster(test::OpenCase(kModel, "", "reference"), 8), nullptr);
  EXPECT_EQ(Batch::MakeIfFaster(test::OpenTirex("{every: 5, horizon: 16}"), 8), nullptr);
  if (const auto batch = Batch::MakeIfFaster(model, 8)) {
    EXPECT_GE(batch->least(), 2u);
    EXPECT_LE(batch->least(), 8u);
    EXPECT_EQ(batch->streams(), 8u);
    // All lanes are free again, and fresh.
    for (int i = 0; i < 8; ++i) batch->MakeStepper();
  }
}

}  // namespace
}  // namespace xst::stream
