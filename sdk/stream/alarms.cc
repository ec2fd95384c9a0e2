#include "sdk/stream/alarms.h"

#include <algorithm>

#include "formats/status.h"
#include "sdk/stream/stream.h"

namespace xst::stream {

bool Alarm::Update(const OutputHead& head, float value) noexcept {
  if (head.epoch != epoch_) since_ = std::numeric_limits<double>::quiet_NaN();
  epoch_ = head.epoch;
  if (std::isnan(value)) return false;
  const double side = rule_.above ? 1 : -1;
  const double v = side * static_cast<double>(value);
  if (active()) {
    if (v > side * rule_.clear) return false;
    active_.store(false, std::memory_order_relaxed);
    since_ = std::numeric_limits<double>::quiet_NaN();
    Changed(head, value);
    return true;
  }
  if (!(v > side * rule_.threshold)) {
    since_ = std::numeric_limits<double>::quiet_NaN();
    return false;
  }
  if (std::isnan(since_) || head.t < since_) since_ = head.t;
  if (head.t - since_ < rule_.for_s) return false;
  active_.store(true, std::memory_order_relaxed);
  raised_.store(raised() + 1, std::memory_order_relaxed);
  Changed(head, value);
  return true;
}

void Alarm::Continue(const Alarm& former) noexcept {
  active_ = former.active();
  raised_ = former.raised();
  changed_t_ = former.changed_t();
  changed_value_ = former.changed_value();
}

void Alarm::Changed(const OutputHead& head, float value) noexcept {
  changed_t_.store(head.t, std::memory_order_relaxed);
  changed_value_.store(static_cast<double>(value), std::memory_order_relaxed);
}

Alarms::Alarms(const Stream& stream, const std::vector<AlarmRule>& rules) : stream_(stream) {
  const auto& names = stream.y_names();
  for (const AlarmRule& rule : rules) {
    const auto at = std::find(names.begin(), names.end(), rule.output);
    if (at == names.end()) {
      std::string known;
      for (size_t i = 0; i < names.size() && i < 16; ++i) known += (i ? ", " : "") + names[i];
      if (names.size() > 16) known += ", …";
      throw Error(Status::invalid_config, rule.place + "output: expected an output of the model (" +
                                              known + "), got \"" + rule.output + "\"");
    }
    all_.push_back(std::make_unique<Alarm>(rule, static_cast<uint32_t>(at - names.begin())));
  }
}

void AlarmSink::Set(std::vector<std::shared_ptr<Alarms>> alarms) {
  const std::lock_guard lock(mutex_);
  alarms_ = std::move(alarms);
}

void AlarmSink::Write(const Stream& stream, const OutputHead& head, std::span<const float> y,
                      std::span<const float>) {
  const std::lock_guard lock(mutex_);
  for (const auto& alarms : alarms_) {
    if (&alarms->stream() != &stream) continue;
    for (const auto& alarm : alarms->all()) {
      const float value = y[alarm->index()];
      if (alarm->Update(head, value)) changed_(stream, *alarm, head, value);
    }
  }
}

}  // namespace xst::stream
