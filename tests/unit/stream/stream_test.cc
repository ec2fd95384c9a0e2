// One stream, all four sides of it on one thread.
#include "sdk/stream/stream.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "tests/support/vectors.h"
#include "tests/unit/stream/one_stream.h"

namespace xst::stream {
namespace {

// rate_hz 100 and default gaps: hold up to 20 periods, then reset.
constexpr char kModel[] = "stream/forecaster";

std::unique_ptr<Stream> Make(StreamOptions options = {}, const std::string& model = kModel) {
  options.name = "s";
  return std::make_unique<Stream>(test::OpenCase(model), options, kEpoch);
}

std::vector<float> Expect(Session& session, float x) {
  std::vector<float> y(session.model()->info().output_width);
  const Status status = session.step(std::span(&x, 1), y);
  EXPECT_TRUE(status == Status::ok || status == Status::held);
  return y;
}

TEST(Stream, GivesWhatASessionGives) {
  const auto stream = Make();
  Session session(test::OpenCase(kModel));
  for (uint64_t i = 0; i < 50; ++i) {
    Offer(*stream, i);
    const auto out = StepAll(*stream);
    ASSERT_EQ(out.size(), 1u);
    EXPECT_TRUE(SameBits(out[0].y, Expect(session, Value(i)))) << i;
    EXPECT_EQ(out[0].x[0], Value(i));
    EXPECT_EQ(out[0].head.seq, i);
    EXPECT_EQ(out[0].head.epoch, kEpoch);
    EXPECT_EQ(out[0].head.t, static_cast<double>(i) / 100);
    EXPECT_EQ(out[0].head.quality & ~uint32_t{kLate}, session.quality());
    EXPECT_EQ(out[0].head.gap_s, 0);
    EXPECT_GE(out[0].head.latency_ns, 0);
  }
  EXPECT_TRUE(stream->idle());
  EXPECT_TRUE(stream->published());
  EXPECT_EQ(stream->counts().samples, 50u);
  EXPECT_EQ(stream->counts().outputs, 50u);
  EXPECT_EQ(stream->step_time().count(), 50u);
  EXPECT_EQ(stream->latency().count(), 50u);
}

TEST(Stream, HoldsThroughAGap) {
  const auto stream = Make();
  Session session(test::OpenCase(kModel));
  Offer(*stream, 0);
  Offer(*stream, 4);
  const auto out = StepAll(*stream);
  ASSERT_EQ(out.size(), 5u);
  EXPECT_TRUE(SameBits(out[0].y, Expect(session, Value(0))));
  for (size_t i = 1; i < 4; ++i) {
    EXPECT_TRUE(SameBits(out[i].y, Expect(session, kNan)));
    EXPECT_TRUE(std::isnan(out[i].x[0]));
    EXPECT_EQ(out[i].head.quality & (kGap | kHeld), uint32_t{kGap | kHeld});
    EXPECT_EQ(out[i].head.seq, i);
    EXPECT_NEAR(out[i].head.t, static_cast<double>(i) / 100, 1e-12);
  }
  EXPECT_TRUE(SameBits(out[4].y, Expect(session, Value(4))));
  EXPECT_EQ(out[4].head.quality & (kGap | kHeld), 0u);
  EXPECT_NEAR(out[4].head.gap_s, 0.03, 1e-12);
  EXPECT_EQ(stream->counts().held, 3u);
  EXPECT_EQ(stream->counts().gaps, 1u);
  EXPECT_EQ(stream->counts().missing, 3u);
}

TEST(Stream, ResetsBeyondTheLongestGap) {
  const auto stream = Make();
  Offer(*stream, 0);
  Offer(*stream, 30);
  const auto out = StepAll(*stream);
  ASSERT_EQ(out.size(), 22u);  // 1, 20 held, 1
  EXPECT_EQ(out[20].head.epoch, kEpoch);
  const Output& last = out[21];
  EXPECT_EQ(last.head.epoch, NextEpoch(kEpoch));
  EXPECT_EQ(last.head.seq, 21u);
  EXPECT_TRUE(last.head.quality & kReset);
  EXPECT_NEAR(last.head.gap_s, 0.29, 1e-12);
  Session fresh(test::OpenCase(kModel));
  EXPECT_TRUE(SameBits(last.y, Expect(fresh, Value(30))));
  EXPECT_EQ(stream->counts().resets, 1u);
}

TEST(Stream, NeverStepsASampleTwice) {
  const auto stream = Make();
  Session session(test::OpenCase(kModel));
  for (const uint64_t seq : {0, 1, 1, 0, 2, 2}) Offer(*stream, seq);
  const auto out = StepAll(*stream);
  ASSERT_EQ(out.size(), 3u);
  for (uint64_t i = 0; i < 3; ++i) {
    EXPECT_TRUE(SameBits(out[i].y, Expect(session, Value(i))));
  }
  EXPECT_EQ(stream->counts().duplicates, 3u);
  EXPECT_TRUE(stream->idle());
}

TEST(Stream, MissingValuesFollowThePolicyAndSaySo) {
  const auto stream = Make();
  Session session(test::OpenCase(kModel));
  uint64_t seq = 0;
  for (const float v : {0.5f, kNan, std::numeric_limits<float>::infinity(), 0.25f}) {
    const float x[] = {v};
    ASSERT_TRUE(stream->Offer(Numbered(seq++), x, {}));
    const auto out = StepAll(*stream);
    ASSERT_EQ(out.size(), 1u);
    EXPECT_TRUE(SameBits(out[0].y, Expect(session, v)));
    EXPECT_EQ((out[0].head.quality & kHeld) != 0, !std::isfinite(v));
  }
}

TEST(Stream, LateIsBeyondOnePeriod) {
  for (const bool deadline : {true, false}) {
    StreamOptions options;
    options.deadline = deadline;
    const auto stream = Make(options);
    SampleHead head = Numbered(0);
    head.receive_ns -= 1'000'000'000;
    const float x[] = {0};
    ASSERT_TRUE(stream->Offer(head, x, {}));
    const auto out = StepAll(*stream);
    ASSERT_EQ(out.size(), 1u);
    EXPECT_EQ((out[0].head.quality & kLate) != 0, deadline);
    EXPECT_EQ(stream->counts().late, deadline ? 1u : 0u);
    EXPECT_GE(out[0].head.latency_ns, 1'000'000'000);
  }
}

TEST(Stream, MarksWhatIsSentAgain) {
  const auto stream = Make();
  SampleHead head = Numbered(0);
  head.historical = true;
  const float x[] = {0};
  ASSERT_TRUE(stream->Offer(head, x, {}));
  EXPECT_TRUE(StepAll(*stream)[0].head.quality & kHistorical);
}

TEST(Stream, WithoutATimeTheArrivalCounts) {
  const auto stream = Make();
  const double before = WallSeconds();
  for (const double t : {0.0, std::numeric_limits<double>::quiet_NaN()}) {
    SampleHead head;
    head.receive_ns = NowNs();
    head.has_t = std::isnan(t);
    head.t = t;
    const float x[] = {0};
    ASSERT_TRUE(stream->Offer(head, x, {}));
  }
  const auto out = StepAll(*stream);
  ASSERT_EQ(out.size(), 2u);
  for (const Output& o : out) {
    EXPECT_GE(o.head.t, before);
    EXPECT_LE(o.head.t, WallSeconds());
  }
}

TEST(Stream, DropOldestKeepsTheNewestAndCounts) {
  StreamOptions options;
  options.queue = 4;
  options.on_full = OnFull::drop_oldest;
  const auto stream = Make(options);
  for (uint64_t i = 0; i < 10; ++i) Offer(*stream, i);
  const auto out = StepAll(*stream);
  ASSERT_EQ(out.size(), 4u);
  EXPECT_EQ(out[0].x[0], Value(6));
  EXPECT_EQ(out[3].x[0], Value(9));
  EXPECT_EQ(stream->counts().dropped, 6u);
  EXPECT_TRUE(stream->idle());
}

TEST(Stream, BlockWaitsUntilStopped) {
  StreamOptions options;
  options.queue = 2;
  const auto stream = Make(options);
  Offer(*stream, 0);
  Offer(*stream, 1);
  std::stop_source stop;
  stop.request_stop();
  const float x[] = {0};
  EXPECT_FALSE(stream->Offer(Numbered(2), x, stop.get_token()));
  EXPECT_EQ(StepAll(*stream).size(), 2u);
  EXPECT_TRUE(stream->idle());
}

TEST(Stream, AFullOutputHoldsTheStepAndLosesNothing) {
  StreamOptions options;
  options.queue = 4000;
  const auto stream = Make(options);
  for (uint64_t i = 0; i < 3000; ++i) Offer(*stream, i);
  uint64_t next = 0;
  while (next < 3000) {
    const auto out = StepAll(*stream);
    ASSERT_FALSE(out.empty());
    ASSERT_LT(out.size(), 3000u);
    for (const Output& o : out) {
      EXPECT_EQ(o.head.seq, next);
      EXPECT_EQ(o.x[0], Value(next));
      ++next;
    }
  }
}

TEST(Stream, ACheckpointAnywhereContinuesBitForBit) {
  // The list has a duplicate, a held gap and one that resets.
  const std::vector<uint64_t> seqs = {0, 1, 2, 2, 3, 6, 7, 8, 40, 41, 42, 41, 43, 44};
  const auto whole = Make();
  for (const uint64_t s : seqs) Offer(*whole, s);
  const auto want = StepAll(*whole);
  for (size_t split = 0; split <= seqs.size(); ++split) {
    const auto first = Make();
    for (size_t i = 0; i < split; ++i) Offer(*first, seqs[i]);
    auto got = StepAll(*first);
    first->RequestCheckpoint();
    EXPECT_FALSE(first->Turn());
    const Checkpoint* checkpoint = first->FetchCheckpoint();
    ASSERT_NE(checkpoint, nullptr);
    EXPECT_EQ(checkpoint->position, split > 0 ? seqs[split - 1] + 1 : 0);

    const auto second = std::make_unique<Stream>(test::OpenCase(kModel), StreamOptions{}, 999);
    second->Restore(*checkpoint);
    EXPECT_EQ(second->start_position(), checkpoint->position);
    for (size_t i = split; i < seqs.size(); ++i) Offer(*second, seqs[i]);
    for (const Output& o : StepAll(*second)) got.push_back(o);
    ASSERT_EQ(got.size(), want.size()) << split;
    for (size_t i = 0; i < want.size(); ++i) {
      EXPECT_TRUE(SameBits(got[i].y, want[i].y)) << split << " " << i;
      EXPECT_EQ(got[i].head.seq, want[i].head.seq);
      EXPECT_EQ(got[i].head.epoch, want[i].head.epoch);
      EXPECT_EQ(got[i].head.t, want[i].head.t);
      EXPECT_EQ(got[i].head.gap_s, want[i].head.gap_s);
    }
  }
}

TEST(Stream, ACheckpointWaitsForTheEndOfAGap) {
  const auto stream = Make();
  Offer(*stream, 0);
  Offer(*stream, 4);
  ASSERT_TRUE(stream->Turn());
  ASSERT_TRUE(stream->Turn());  // the first held step
  stream->RequestCheckpoint();
  for (int i = 0; i < 3; ++i) {
    ASSERT_TRUE(stream->Turn());
    TakeAll(*stream);
    EXPECT_EQ(stream->FetchCheckpoint(), nullptr);
  }
  EXPECT_FALSE(stream->Turn());
  ASSERT_NE(stream->FetchCheckpoint(), nullptr);
  EXPECT_EQ(stream->FetchCheckpoint()->seq, 5u);
}

TEST(Stream, ACheckpointIsBehindWhatWasPublished) {
  const auto stream = Make();
  Offer(*stream, 0);
  ASSERT_TRUE(stream->Turn());
  stream->RequestCheckpoint();
  EXPECT_FALSE(stream->Turn());
  EXPECT_EQ(stream->FetchCheckpoint(), nullptr);
  EXPECT_FALSE(stream->published());
  TakeAll(*stream);
  EXPECT_NE(stream->FetchCheckpoint(), nullptr);
}

TEST(Stream, ACheckpointOfAnotherModelIsRefusedAndChangesNothing) {
  const auto other = Make({}, "stream/classifier");
  other->RequestCheckpoint();
  EXPECT_FALSE(other->Turn());
  const auto stream = Make();
  EXPECT_THROW(stream->Restore(*other->FetchCheckpoint()), Error);
  EXPECT_EQ(stream->start_position(), 0u);
  Session session(test::OpenCase(kModel));
  Offer(*stream, 0);
  const auto out = StepAll(*stream);
  EXPECT_TRUE(SameBits(out[0].y, Expect(session, Value(0))));
  EXPECT_EQ(out[0].head.epoch, kEpoch);
}

TEST(Stream, BareModelsGetNames) {
  const auto stream = Make({}, "block_stack/kernel_one");
  ASSERT_FALSE(stream->y_names().empty());
  EXPECT_EQ(stream->y_names()[0], "y0");
  EXPECT_EQ(stream->x_names()[1], "x1");
  EXPECT_EQ(stream->x_names().size(), stream->info().input_width);
}

TEST(Stream, ModelsOfTokensAreRefused) { EXPECT_THROW(Make({}, "block_stack/lm_tied"), Error); }

TEST(Stream, EpochsAreIntegersOfADouble) {
  std::set<uint64_t> seen;
  uint64_t epoch = 0;
  for (int i = 0; i < 1000; ++i) {
    epoch = NextEpoch(epoch);
    EXPECT_LT(epoch, uint64_t{1} << 53);
    EXPECT_TRUE(seen.insert(epoch).second);
  }
}

TEST(Stream, IsStaleWithoutSamplesWhileItsSourceRuns) {
  StreamOptions options;
  options.stale_s = 1e-6;
  const auto stream = Make(options);
  EXPECT_FALSE(stream->stale());  // no source yet
  stream->SourceStarts();
  while (!stream->stale()) std::this_thread::yield();
  Offer(*stream, 0);
  EXPECT_EQ(stream->counts().stale, 1u);
  StepAll(*stream);
  while (!stream->stale()) std::this_thread::yield();
  stream->SourceEnds(false);
  EXPECT_FALSE(stream->stale());
  EXPECT_EQ(stream->counts().stale, 2u);
}

TEST(Stream, WhatWaitsForItsPredecessorComesAtTheEndUnlessItIsGivenAgain) {
  for (const bool again : {false, true}) {
    StreamOptions options;
    options.order_window = 4;
    const auto stream = Make(options);
    for (const uint64_t seq : {0, 2, 3}) {
      SampleHead head = Numbered(seq);
      if (!again) head.position = 0;
      const float x[] = {Value(seq)};
      stream->Offer(head, x, {});
    }
    EXPECT_TRUE(StepAll(*stream).empty());
    stream->SourceEnds(true);
    EXPECT_EQ(StepAll(*stream).size(), again ? 0u : 4u);  // the gap is held
    stream->SourceEnds(false);
    EXPECT_EQ(StepAll(*stream).size(), again ? 4u : 0u);
  }
}

TEST(Stream, ASampleWithoutATimeCannotBeResampled) {
  StreamOptions options;
  options.resample = Resample::linear;
  const auto stream = Make(options);
  const float x[] = {1};
  EXPECT_TRUE(stream->Offer({}, x, {}));
  EXPECT_EQ(stream->counts().rejected, 1u);
  EXPECT_NE(stream->last_reject().find("t: expected a time"), std::string::npos);
  for (uint64_t i = 0; i < 10; ++i) Offer(*stream, i);
  EXPECT_EQ(StepAll(*stream).size(), 10u);
}

TEST(Stream, ATimeInNanosecondsIsRefusedWhereItIsResampled) {
  StreamOptions options;
  options.resample = Resample::hold;
  const auto stream = Make(options);
  SampleHead head;
  head.has_t = true;
  head.t = 1.7e18;
  const std::vector<float> x(stream->info().input_width, 1.0f);
  EXPECT_TRUE(stream->Offer(head, x, {}));
  EXPECT_EQ(stream->counts().rejected, 1u);
  EXPECT_NE(stream->last_reject().find("expected a time in seconds"), std::string::npos);
}

}  // namespace
}  // namespace xst::stream
