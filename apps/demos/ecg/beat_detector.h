// The on-line beat rule: from beat probabilities to beats, one pass, no look-ahead.
#pragma once

#include <cstdint>
#include <limits>
#include <optional>
#include <string>

namespace xst::ecg {

// How to find a beat in the model's probabilities; comes with the model (beats.yaml).
struct BeatRule {
  double threshold = 0;     // probability from which a beat may be
  double release = 0;       // a beat is declared below release * maximum
  double refractory_s = 0;  // from one beat's maximum to the next one's rise
  double delay_s = 0;       // from the R wave to the maximum, as the network was trained
};

// Throws Error naming file and key.
BeatRule ReadBeatRule(const std::string& path);

struct Beat {
  uint64_t maximum;   // sample number of the probability's maximum
  uint64_t declared;  // sample number at which the beat was known
};

// Follows the maximum of p while p >= threshold, starting no sooner than refractory_s after the
// last beat's maximum. The first sample below release * maximum declares the beat.
class BeatDetector {
 public:
  BeatDetector(const BeatRule& rule, double rate_hz) : rule_(rule), rate_hz_(rate_hz) {}

  // p: the probability at sample n; n grows from call to call.
  std::optional<Beat> Step(uint64_t n, double p);

  // Seconds from sample 0 to the R wave of a beat.
  double RTime(const Beat& beat) const {
    return static_cast<double>(beat.maximum) / rate_hz_ - rule_.delay_s;
  }

 private:
  BeatRule rule_;
  double rate_hz_;
  double best_ = 0;
  uint64_t best_n_ = 0;
  double last_n_ = -std::numeric_limits<double>::infinity();
};

}  // namespace xst::ecg
