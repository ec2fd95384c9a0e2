// Alarms on the outputs of a stream, with hysteresis.
#pragma once

#include <atomic>
#include <cmath>
#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <vector>

#include "sdk/stream/source.h"

namespace xst::stream {

struct AlarmRule {
  std::string name, output;
  bool above = true;     // else below
  double threshold = 0;  // raised beyond it
  double clear = 0;      // cleared at it or on its other side
  double for_s = 0;      // beyond the threshold for so long before it is raised, by source time
  std::string place;     // where it was configured, for messages

  // But for the place.
  bool operator==(const AlarmRule& o) const {
    return name == o.name && output == o.output && above == o.above && threshold == o.threshold &&
           clear == o.clear && for_s == o.for_s;
  }
};

// One thread updates, any thread reads. A value that is NaN neither raises nor clears, and lets a
// wait for `for_s` go on; so does a reset of the stream, but for the wait, which starts over.
class Alarm {
 public:
  Alarm(AlarmRule rule, uint32_t index) : rule_(std::move(rule)), index_(index) {}

  const AlarmRule& rule() const { return rule_; }
  uint32_t index() const { return index_; }  // of the output

  // Goes on from where `former`, of the same name, stood.
  void Continue(const Alarm& former) noexcept;

  // True if it was raised or cleared.
  bool Update(const OutputHead& head, float value) noexcept;

  bool active() const noexcept { return active_.load(std::memory_order_relaxed); }
  uint64_t raised() const noexcept { return raised_.load(std::memory_order_relaxed); }  // how often
  // The source's time and the value of the last change; 0 before one.
  double changed_t() const noexcept { return changed_t_.load(std::memory_order_relaxed); }
  double changed_value() const noexcept { return changed_value_.load(std::memory_order_relaxed); }

 private:
  void Changed(const OutputHead& head, float value) noexcept;

  const AlarmRule rule_;
  const uint32_t index_;
  std::atomic<bool> active_{false};
  std::atomic<uint64_t> raised_{0};
  std::atomic<double> changed_t_{0}, changed_value_{0};
  double since_ = std::numeric_limits<double>::quiet_NaN();  // beyond the threshold; NaN: not
  uint64_t epoch_ = 0;
};

// The alarms of one stream.
class Alarms {
 public:
  // Throws Error{invalid_config} for an output that the stream does not have.
  Alarms(const Stream& stream, const std::vector<AlarmRule>& rules);

  const Stream& stream() const { return stream_; }
  const std::vector<std::unique_ptr<Alarm>>& all() const { return all_; }

 private:
  const Stream& stream_;
  std::vector<std::unique_ptr<Alarm>> all_;
};

// Evaluates alarms on the output thread and says what changed. It comes behind the sink that
// publishes, so that an output is out before its alarm.
class AlarmSink : public Sink {
 public:
  using Changed = std::function<void(const Stream&, const Alarm&, const OutputHead&, float value)>;

  explicit AlarmSink(Changed changed) : changed_(std::move(changed)) {}

  // Evaluates these from now on; any thread. Their streams stay until the next Set.
  void Set(std::vector<std::shared_ptr<Alarms>> alarms);

  void Write(const Stream& stream, const OutputHead& head, std::span<const float> y,
             std::span<const float> x) override;

 private:
  std::mutex mutex_;  // of alarms_
  std::vector<std::shared_ptr<Alarms>> alarms_;
  const Changed changed_;
};

}  // namespace xst::stream
