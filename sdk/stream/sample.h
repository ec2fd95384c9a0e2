// What travels from a source to the step and from the step to a sink. Both are plain values: the
// channels travel beside them in the ring (ring.h).
#pragma once

#include <chrono>
#include <cstdint>

namespace xst::stream {

// Monotonic nanoseconds; differences are latencies.
inline int64_t NowNs() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

// Wall clock in seconds since 1970: the time of a sample whose source gives none.
inline double WallSeconds() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

// One sample as it arrived.
struct SampleHead {
  double t = 0;            // seconds: the source's time, or the arrival's if !has_t (0: it is now)
  int64_t receive_ns = 0;  // NowNs() at arrival
  uint64_t seq = 0;        // the source's sequence number, if has_seq
  uint64_t position = 0;   // where the source goes on behind this sample (replay: data rows read)
  bool has_t = false;
  bool has_seq = false;
  bool historical = false;  // sent again after a restart
};

// One output of the step.
struct OutputHead {
  double t = 0;        // seconds, the source's time; interpolated for a sample held in a gap
  uint64_t seq = 0;    // counts the outputs of a stream from 0
  uint64_t epoch = 0;  // 53 bits; changes with every reset
  double gap_s = 0;    // length of the gap that this sample ended, 0 without one
  int64_t receive_ns = 0;
  int64_t latency_ns = 0;  // arrival to stepped
  uint32_t quality = 0;    // Quality bits (sdk/session.h)
};

}  // namespace xst::stream
