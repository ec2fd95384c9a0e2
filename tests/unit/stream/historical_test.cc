// Samples that a log gives again after a restart.
#include <gtest/gtest.h>

#include <memory>

#include "tests/support/vectors.h"
#include "tests/unit/stream/one_stream.h"

namespace xst::stream {
namespace {

std::unique_ptr<Stream> Make() {
  StreamOptions options;
  options.name = "s";
  return std::make_unique<Stream>(test::OpenCase("stream/forecaster"), options, kEpoch);
}

TEST(Historical, MarksEveryOutputAlsoTheHeldOnesAndNoneLate) {
  const auto stream = Make();
  Offer(*stream, 0);
  EXPECT_EQ(StepAll(*stream)[0].head.quality & kHistorical, 0u);
  SampleHead head = Numbered(3);  // 1 and 2 are missing
  head.historical = true;
  head.receive_ns -= 3600 * int64_t{1000000000};
  const float x[] = {Value(3)};
  ASSERT_TRUE(stream->Offer(head, x, {}));
  const auto out = StepAll(*stream);
  ASSERT_EQ(out.size(), 3u);
  for (const Output& o : out) EXPECT_EQ(o.head.quality & (kHistorical | kLate), kHistorical);
  EXPECT_EQ(stream->counts().late, 0u);
}

TEST(Historical, AnArrivalThatWasKeptStaysTheSamplesTime) {
  const auto stream = Make();
  SampleHead head;
  head.t = 1234.5;
  const float x[] = {1};
  ASSERT_TRUE(stream->Offer(head, x, {}));
  head.t = 0;
  ASSERT_TRUE(stream->Offer(head, x, {}));
  head.t = std::nan("");
  head.has_t = true;
  ASSERT_TRUE(stream->Offer(head, x, {}));
  const auto out = StepAll(*stream);
  ASSERT_EQ(out.size(), 3u);
  EXPECT_EQ(out[0].head.t, 1234.5);
  EXPECT_GT(out[1].head.t, 1.6e9);
  EXPECT_GT(out[2].head.t, 1.6e9);
}

}  // namespace
}  // namespace xst::stream
