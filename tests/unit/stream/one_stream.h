// All four sides of one stream on one thread, for tests.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <vector>

#include "sdk/stream/stream.h"

namespace xst::stream {

constexpr uint64_t kEpoch = 12345;
const float kNan = std::numeric_limits<float>::quiet_NaN();

struct Output {
  OutputHead head;
  std::vector<float> y, x;
};

// Equal bits, so that NaN equals NaN and 0 is not -0.
inline bool SameBits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

inline SampleHead Numbered(uint64_t seq) {
  SampleHead head;
  head.receive_ns = NowNs();
  head.has_seq = true;
  head.seq = seq;
  head.has_t = true;
  head.t = static_cast<double>(seq) / 100;
  head.position = seq + 1;
  return head;
}

// Signal of a stream test: sample `seq` of one channel.
inline float Value(uint64_t seq) { return std::sin(0.3f * static_cast<float>(seq)); }

inline void Offer(Stream& stream, uint64_t seq) {
  const float x[] = {Value(seq)};
  ASSERT_TRUE(stream.Offer(Numbered(seq), x, {}));
}

inline std::vector<Output> TakeAll(Stream& stream) {
  std::vector<Output> all;
  Output o;
  o.y.resize(stream.info().output_width);
  o.x.resize(stream.info().input_width);
  while (stream.Take(&o.head, o.y, o.x)) {
    stream.MarkPublished();
    all.push_back(o);
  }
  return all;
}

inline std::vector<Output> StepAll(Stream& stream) {
  while (stream.Turn()) {
  }
  return TakeAll(stream);
}

}  // namespace xst::stream
