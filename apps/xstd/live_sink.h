// The recent past of every stream, thinned out for a picture, and its last record.
#pragma once

#include <cstdint>
#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "sdk/model.h"
#include "sdk/stream/source.h"

namespace xstd {

// One record, or several that came too fast for a picture each.
struct LivePoint {
  double t = 0;          // of the last
  uint32_t quality = 0;  // of all
  uint32_t records = 0;
};

// Consecutive points; the channels of a point are the inputs and then the outputs.
struct LiveBatch {
  uint64_t first = 0;  // number of the first point
  uint64_t lost = 0;   // points before it that were forgotten before they were read
  uint32_t channels = 0;
  std::vector<LivePoint> points;
  std::vector<float> low, high;  // [point][channel]; NaN where no record had a value
};

// Written by the publisher's thread, read by any. Readers share one bounded history: a slow one
// costs nothing and finds points lost.
class LiveSink : public xst::stream::Sink {
 public:
  static constexpr uint32_t kInputs = 16, kOutputs = 32;  // shown of a stream that steps

  struct Last {
    double t = 0;
    uint64_t seq = 0, epoch = 0;
    uint32_t quality = 0;
  };

  void Write(const xst::stream::Stream& stream, const xst::stream::OutputHead& head,
             std::span<const float> y, std::span<const float> x) override;
  void Idle() override;

  // The streams there are: the others are forgotten, and these share the memory.
  void Keep(const std::set<std::string>& names);

  std::optional<Last> last(const std::string& name) const;

  // Takes what is newer than *cursor, which starts at 0. False: nothing.
  bool Read(const std::string& name, uint64_t* cursor, LiveBatch* batch) const;

  // Inputs and outputs of a stream that are in its points.
  static uint32_t ShownInputs(const xst::ModelInfo& info);
  static uint32_t ShownOutputs(const xst::ModelInfo& info);

 private:
  struct History {
    uint32_t channels = 0;
    bool forecasts = false;
    size_t capacity = 0;  // points
    std::vector<LivePoint> points;
    std::vector<float> low, high;
    uint64_t begin = 0, end = 0;  // numbers of the first point kept and of the next one
    Last last;
    LivePoint open;  // records == 0: none
    std::vector<float> open_low, open_high;
    double rate = 0, credit = 0;  // points a second; how many may come at once
    int64_t credit_ns = 0;
  };

  void Start(const xst::ModelInfo& info, History* history);
  void Close(History* history, int64_t now_ns);

  mutable std::mutex mutex_;
  std::map<std::string, History, std::less<>> histories_;
  size_t bytes_ = 1 << 20;  // of one stream's history
  size_t open_ = 0;         // histories with an open point
};

}  // namespace xstd
