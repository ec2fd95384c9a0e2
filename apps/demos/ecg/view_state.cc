#include "apps/demos/ecg/view_state.h"

#include <cmath>

namespace xst::ecg {
namespace {

constexpr size_t kRhythmBeats = 9;  // eight intervals
constexpr uint32_t kLate = 8;       // quality bit: the deadline was missed

}  // namespace

Outputs FindOutputs(const ModelInfo& info) {
  Outputs found;
  if (info.config.stream && info.config.stream->inputs.size() == 1) {
    const auto& stream = *info.config.stream;
    found.input = stream.inputs[0].name;
    found.unit = stream.inputs[0].unit;
    found.rate_hz = stream.rate_hz;
    for (const auto& output : stream.outputs) {
      using formats::OutputKind;
      const double ahead_s = output.horizon / stream.rate_hz;
      if ((output.kind == OutputKind::gaussian || output.kind == OutputKind::value) &&
          output.of == 0 && ahead_s > found.ahead_s) {
        found.prediction = output.names[0];
        found.ahead_s = ahead_s;
      } else if (output.kind == OutputKind::surprise) {
        found.surprise = output.names[0];
      } else if (output.kind == OutputKind::sigmoid) {
        found.beat = output.names[0];
      }
    }
  }
  if (found.rate_hz <= 0 || found.prediction.empty() || found.surprise.empty() ||
      found.beat.empty()) {
    throw Error(Status::invalid_config,
                "model: expected one sampled input and a prediction, a surprise and a sigmoid "
                "(beat probability) among the outputs, got others");
  }
  return found;
}

ViewState::ViewState(const Outputs& outputs, const BeatRule& rule, double window_s)
    : outputs_(outputs), rule_(rule), window_s_(window_s), detector_(rule, outputs.rate_hz) {}

void ViewState::Restart() {
  detector_ = BeatDetector(rule_, outputs_.rate_hz);
  for (terminal::Series* series : {&trace_, &prediction_, &surprise_}) series->Clear();
  beats_.clear();
  rhythm_.clear();
}

void ViewState::Take(const terminal::Record& record) {
  // A reset of the stream changes the epoch: what was found before says nothing about what comes.
  if (seen_ > 0 && (record.epoch != last_.epoch || record.seq <= last_.seq)) Restart();
  last_ = record;
  ++seen_;
  if (record.quality & kLate) ++late_;
  const double smoothing = std::max(1.0 / outputs_.rate_hz, 1.0 / static_cast<double>(seen_));
  latency_us_ += smoothing * (record.latency_us - latency_us_);

  const double t = record.timestamp, from = t - window_s_;
  trace_.Add(t, record.x.empty() ? NAN : record.x[0].second);
  prediction_.Add(t + outputs_.ahead_s, record.Find(outputs_.prediction));
  surprise_.Add(t, record.Find(outputs_.surprise));
  for (terminal::Series* series : {&trace_, &prediction_, &surprise_}) series->Trim(from);

  if (const auto beat = detector_.Step(record.seq, double{record.Find(outputs_.beat)})) {
    ++beat_count_;
    const double ago = static_cast<double>(record.seq) / outputs_.rate_hz - detector_.RTime(*beat);
    beats_.push_back(t - ago);
    rhythm_.push_back(t - ago);
    if (rhythm_.size() > kRhythmBeats) rhythm_.pop_front();
  }
  while (!beats_.empty() && beats_.front() < from) beats_.pop_front();
}

double ViewState::heart_rate() const {
  if (rhythm_.size() < 2) return NAN;
  return 60 * static_cast<double>(rhythm_.size() - 1) / (rhythm_.back() - rhythm_.front());
}

}  // namespace xst::ecg
