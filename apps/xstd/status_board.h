// What the daemon says about itself: taken by the control thread, read by any other.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "sdk/model.h"
#include "sdk/stream/source.h"
#include "sdk/stream/stream.h"

namespace xstd {

// A histogram of durations in bins of a quarter of a power of two, from 2^kFirst ns on; what is
// shorter or longer is in the first or last bin.
struct Durations {
  static constexpr uint32_t kFirst = 9, kOctaves = 26, kBins = 4 * kOctaves;
  explicit Durations(const xst::stream::Histogram& histogram);
  Durations() = default;
  static double Upper(uint32_t bin);  // seconds

  uint64_t count = 0;
  double sum_s = 0, p50_s = 0, p99_s = 0, p999_s = 0, max_s = 0;
  std::array<uint64_t, kBins> bins{};
};

struct AlarmStatus {
  std::string name, output;
  bool active = false;
  double since = 0;  // the source's time in seconds
  double value = 0;  // that raised or cleared it
};

struct SeriesStatus {
  std::string name, unit;
  std::string kind;      // value, gaussian, sigma, surprise, sigmoid, softmax, raw
  int32_t of = -1;       // input that it predicts, -1: none
  uint32_t horizon = 0;  // samples ahead
};

struct StreamStatus {
  std::string name, model, device, isa, family, arch_hash, source_hash, file_hash;
  std::string source, endpoint;  // type; address, empty without one
  double rate_hz = 0;
  std::vector<SeriesStatus> inputs, outputs;  // as in the points of LiveSink
  std::vector<double> quantiles;              // of a forecast: outputs are [horizon][quantile]
  uint32_t horizon = 0, every = 0;            // samples
  bool ended = false, failed = false;
  uint64_t queued = 0, queue = 0;  // ring in, samples
  xst::stream::StreamCounts counts;
  uint64_t snapshots = 0, snapshot_errors = 0, log_errors = 0;
  xst::stream::SourceCounts source_counts;
  bool stale = false;
  Durations step, latency;
  bool has_last = false;  // the last record:
  double last_t = 0;
  uint64_t seq = 0, epoch = 0;
  uint32_t quality = 0;
  std::vector<AlarmStatus> alarms;
};

struct DaemonStatus {
  std::string version, publish_endpoint;
  std::chrono::steady_clock::time_point taken{};
  double start_time = 0;  // seconds since 1970
  double uptime_s = 0, cpu_s = 0;
  uint64_t rss_bytes = 0;
  bool alive = true;  // steps move, or nothing waits
  uint64_t reloads = 0, reload_errors = 0;
  uint64_t refused = 0;  // connections whose key is not known
  std::vector<StreamStatus> streams;

  const StreamStatus* Find(const std::string& name) const;
};

// One counter of a stream, everywhere it is shown.
struct StreamCounter {
  const char* name;  // in JSON; in Prometheus xstd_stream_NAME_total
  const char* help;
  uint64_t (*get)(const StreamStatus&);
};
extern const std::vector<StreamCounter> kStreamCounters;

// One counter of the process: xstd_NAME_total.
struct DaemonCounter {
  const char* name;
  const char* help;
  uint64_t (*get)(const DaemonStatus&);
};
extern const std::vector<DaemonCounter> kDaemonCounters;

// The parts of a StreamStatus that its model gives.
void DescribeModel(const xst::ModelInfo& info, const std::vector<std::string>& x_names,
                   const std::vector<std::string>& y_names, StreamStatus* status);
// Memory and time of this process.
void MeasureProcess(DaemonStatus* status);

class StatusBoard {
 public:
  void Set(DaemonStatus status);
  std::shared_ptr<const DaemonStatus> Get() const;
  // Alive by a status that is not old.
  bool Healthy() const;

 private:
  mutable std::mutex mutex_;
  std::shared_ptr<const DaemonStatus> status_ = std::make_shared<DaemonStatus>();
};

}  // namespace xstd
