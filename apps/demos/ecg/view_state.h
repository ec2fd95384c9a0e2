// What the ECG view knows of the stream: curves, beats, numbers. No drawing, no sockets.
#pragma once

#include <cstdint>
#include <deque>
#include <string>

#include "apps/demos/ecg/beat_detector.h"
#include "apps/terminal/canvas.h"
#include "apps/terminal/feed.h"
#include "sdk/model.h"

namespace xst::ecg {

// Which of the model's outputs the view shows, read from the model.
struct Outputs {
  std::string input, unit;  // the trace
  double rate_hz = 0;
  std::string prediction;  // of the input, the farthest ahead there is
  double ahead_s = 0;
  std::string surprise;
  std::string beat;  // probability
};

// Throws Error if the model has no such outputs.
Outputs FindOutputs(const ModelInfo& info);

class ViewState {
 public:
  ViewState(const Outputs& outputs, const BeatRule& rule, double window_s);

  void Take(const terminal::Record& record);

  const Outputs& outputs() const { return outputs_; }
  const terminal::Record& last() const { return last_; }
  const terminal::Series& trace() const { return trace_; }
  const terminal::Series& prediction() const { return prediction_; }
  const terminal::Series& surprise() const { return surprise_; }
  // Times of the R waves in the window.
  const std::deque<double>& beats() const { return beats_; }

  uint64_t seen() const { return seen_; }
  uint64_t beat_count() const { return beat_count_; }
  uint64_t late() const { return late_; }
  // Beats per minute over the last beats; NaN before there are two.
  double heart_rate() const;
  double mean_latency_us() const { return latency_us_; }  // over about a second

 private:
  void Restart();

  Outputs outputs_;
  BeatRule rule_;
  double window_s_;
  BeatDetector detector_;
  terminal::Record last_;
  terminal::Series trace_, prediction_, surprise_;
  std::deque<double> beats_;   // in the window
  std::deque<double> rhythm_;  // the last few, for the rate
  uint64_t seen_ = 0, beat_count_ = 0, late_ = 0;
  double latency_us_ = 0;
};

}  // namespace xst::ecg
