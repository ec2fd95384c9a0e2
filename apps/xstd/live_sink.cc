#include "apps/xstd/live_sink.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "sdk/stream/stream.h"

namespace xstd {
namespace {

constexpr size_t kBytes = 64 << 20, kMinBytes = 16 << 10, kMaxBytes = 1 << 20;  // all; a stream's
constexpr size_t kMinPoints = 4, kMaxPoints = 8192;
constexpr double kMaxRate = 400, kMinRate = 4;  // points a second
constexpr double kValuesPerSecond = 40000, kBurst = 4;
constexpr size_t kBatch = 1024;  // points read at once

bool IsForecast(const xst::ModelInfo& info) {
  return info.config.family == xst::formats::Family::tirex;
}

}  // namespace

uint32_t LiveSink::ShownInputs(const xst::ModelInfo& info) {
  return std::min(info.input_width, kInputs);
}

uint32_t LiveSink::ShownOutputs(const xst::ModelInfo& info) {
  return IsForecast(info) ? info.output_width : std::min(info.output_width, kOutputs);
}

void LiveSink::Start(const xst::ModelInfo& info, History* history) {
  History& h = *history;
  h.channels = ShownInputs(info) + ShownOutputs(info);
  h.forecasts = IsForecast(info);
  const size_t bytes = sizeof(LivePoint) + 2 * sizeof(float) * h.channels;
  h.capacity = std::clamp(bytes_ / bytes, kMinPoints, kMaxPoints);
  h.points.assign(h.capacity, {});
  h.low.assign(h.capacity * h.channels, 0);
  h.high.assign(h.capacity * h.channels, 0);
  h.begin = h.end;  // points of other channels are of no use
  h.open = {};
  h.open_low.resize(h.channels);
  h.open_high.resize(h.channels);
  h.rate = std::clamp(kValuesPerSecond / h.channels, kMinRate, kMaxRate);
  h.credit = kBurst * h.rate;
  h.credit_ns = xst::stream::NowNs();
}

void LiveSink::Write(const xst::stream::Stream& stream, const xst::stream::OutputHead& head,
                     std::span<const float> y, std::span<const float> x) {
  const xst::ModelInfo& info = stream.info();
  x = x.first(ShownInputs(info));
  y = y.first(ShownOutputs(info));
  const std::lock_guard lock(mutex_);
  auto found = histories_.find(stream.options().name);
  if (found == histories_.end()) found = histories_.try_emplace(stream.options().name).first;
  History& h = found->second;
  if (h.channels != x.size() + y.size() || h.forecasts != IsForecast(info)) {
    open_ -= h.open.records > 0;
    Start(info, &h);
  }
  h.last = {head.t, head.seq, head.epoch, head.quality};
  // Of forecasts the last counts: an envelope of several would be none of them.
  const bool first = h.open.records == 0 || h.forecasts;
  open_ += h.open.records == 0;
  h.open.t = head.t;
  h.open.quality = first ? head.quality : h.open.quality | head.quality;
  h.open.records = first ? 1 : h.open.records + 1;
  for (uint32_t i = 0; i < h.channels; ++i) {
    const float v = i < x.size() ? x[i] : y[i - x.size()];
    const float finite = std::isfinite(v) ? v : std::numeric_limits<float>::quiet_NaN();
    h.open_low[i] = first ? finite : std::fmin(h.open_low[i], finite);  // passes NaN over
    h.open_high[i] = first ? finite : std::fmax(h.open_high[i], finite);
  }
  Close(&h, xst::stream::NowNs());
}

void LiveSink::Idle() {
  const std::lock_guard lock(mutex_);
  if (open_ == 0) return;
  const int64_t now = xst::stream::NowNs();
  for (auto& [name, history] : histories_) {
    if (history.open.records > 0) Close(&history, now);
  }
}

// A token bucket: bursts of some seconds' points pass as they are, what is faster is thinned out.
void LiveSink::Close(History* history, int64_t now_ns) {
  History& h = *history;
  h.credit = std::min(kBurst * h.rate,
                      h.credit + h.rate * 1e-9 * static_cast<double>(now_ns - h.credit_ns));
  h.credit_ns = now_ns;
  if (h.credit < 1) return;
  h.credit -= 1;
  const size_t slot = h.end % h.capacity;
  h.points[slot] = h.open;
  const auto at = static_cast<ptrdiff_t>(slot * h.channels);
  std::copy(h.open_low.begin(), h.open_low.end(), h.low.begin() + at);
  std::copy(h.open_high.begin(), h.open_high.end(), h.high.begin() + at);
  ++h.end;
  h.begin = std::max(h.begin, h.end > h.capacity ? h.end - h.capacity : 0);
  h.open.records = 0;
  --open_;
}

void LiveSink::Keep(const std::set<std::string>& names) {
  const std::lock_guard lock(mutex_);
  bytes_ = std::clamp(kBytes / std::max<size_t>(names.size(), 1), kMinBytes, kMaxBytes);
  std::erase_if(histories_, [&](const auto& entry) {
    const bool gone = !names.contains(entry.first);
    if (gone) open_ -= entry.second.open.records > 0;
    return gone;
  });
}

std::optional<LiveSink::Last> LiveSink::last(const std::string& name) const {
  const std::lock_guard lock(mutex_);
  const auto found = histories_.find(name);
  if (found == histories_.end()) return std::nullopt;
  return found->second.last;
}

bool LiveSink::Read(const std::string& name, uint64_t* cursor, LiveBatch* batch) const {
  const std::lock_guard lock(mutex_);
  const auto found = histories_.find(name);
  if (found == histories_.end()) return false;
  const History& h = found->second;
  uint64_t from = std::max(*cursor, h.begin);
  if (*cursor > h.end) from = h.begin;  // the stream went and came back
  if (from >= h.end) return false;
  batch->first = from;
  batch->lost = *cursor > 0 && from > *cursor ? from - *cursor : 0;
  batch->channels = h.channels;
  const uint64_t to = std::min<uint64_t>(h.end, from + kBatch);
  batch->points.clear();
  batch->low.clear();
  batch->high.clear();
  for (uint64_t n = from; n < to; ++n) {
    const size_t slot = n % h.capacity;
    const auto at = static_cast<ptrdiff_t>(slot * h.channels);
    batch->points.push_back(h.points[slot]);
    batch->low.insert(batch->low.end(), h.low.begin() + at, h.low.begin() + at + h.channels);
    batch->high.insert(batch->high.end(), h.high.begin() + at, h.high.begin() + at + h.channels);
  }
  *cursor = to;
  return true;
}

}  // namespace xstd
