// Puts ordered samples onto the model's grid of times.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <vector>

#include "sdk/stream/sample.h"

namespace xst::stream {

enum class Resample : uint8_t { none, hold, linear };

// One thread; allocates nothing after construction.
//
// The grid are the times k / rate_hz, the same for every stream, so that the last time emitted is
// all one needs to go on. A grid point gets the value of the sample before it (hold) or what lies
// between its two neighbours (linear; NaN where one of them is), and exactly the sample's where one
// lies on it. It is emitted when the next sample has come. Across a gap longer than max_s nothing
// is emitted.
class Resampler {
 public:
  // False: stopped.
  using Emit = std::function<bool(const SampleHead& head, std::span<const float> x)>;

  Resampler(Resample kind, double rate_hz, double max_s, uint32_t width);

  // `t`: the last grid point emitted.
  void Restore(double t);
  // What lies at or before that one: its latest is the left neighbour of the next. False: not it.
  bool Prime(const SampleHead& head, std::span<const float> x, uint64_t before);

  // In order. `before`: where the source goes on to give this sample again. False: `emit` was
  // stopped.
  bool Take(const SampleHead& head, std::span<const float> x, uint64_t before, const Emit& emit);
  // What comes next is of another time.
  void StartAnew() { left_.valid = has_count_ = false; }

  // The last sample taken, or grid point restored.
  std::optional<double> last_t() const;

 private:
  struct Left {
    bool valid = false;
    double t = 0;
    uint64_t before = 0;
    std::vector<float> x;
  };

  double TimeAt(double count) const { return count / rate_hz_; }
  double CountAt(double t) const;  // the first grid point at or behind t
  bool Bridges(double from, double to) const;
  void Keep(const SampleHead& head, std::span<const float> x, uint64_t before);

  const Resample kind_;
  const double rate_hz_, max_periods_;
  Left left_;
  bool has_count_ = false;
  double count_ = 0;  // the last grid point emitted, in periods; exact below 2^53
  std::vector<float> made_;
};

}  // namespace xst::stream
