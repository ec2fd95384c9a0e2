#include "apps/xstd/status_board.h"

#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <fstream>
#include <utility>

#include "apps/xstd/live_sink.h"
#include "sdk/names.h"

namespace xstd {
namespace {

constexpr std::chrono::seconds kOld(10);

// The quarter of a power of two that a duration lies in; its histogram's buckets are finer and
// never cross one.
uint32_t BinOf(double lower_ns) {
  const auto v = static_cast<uint64_t>(lower_ns);
  if (v < (uint64_t{1} << Durations::kFirst)) return 0;
  const auto octave = static_cast<uint32_t>(std::bit_width(v)) - 1;
  const auto quarter = static_cast<uint32_t>(v >> (octave - 2)) & 3;
  return std::min(4 * (octave - Durations::kFirst) + quarter, Durations::kBins - 1);
}

const char* Name(xst::formats::OutputKind kind) {
  constexpr const char* kNames[] = {"value", "gaussian", "surprise", "sigmoid", "softmax", "raw"};
  return kNames[static_cast<size_t>(kind)];
}

std::string At(const std::vector<std::string>& list, size_t i) {
  return i < list.size() ? list[i] : std::string();
}

}  // namespace

const std::vector<StreamCounter> kStreamCounters = {
    {"samples", "Samples taken from the input queue",
     [](const StreamStatus& s) { return s.counts.samples; }},
    {"outputs", "Records put out", [](const StreamStatus& s) { return s.counts.outputs; }},
    {"dropped", "Samples dropped because the input queue was full",
     [](const StreamStatus& s) { return s.counts.dropped; }},
    {"rejected", "Malformed messages", [](const StreamStatus& s) { return s.counts.rejected; }},
    {"duplicates", "Samples dropped because their seq was not above the last",
     [](const StreamStatus& s) { return s.counts.duplicates; }},
    {"reordered", "Samples put back in order",
     [](const StreamStatus& s) { return s.counts.reordered; }},
    {"too_late", "Samples dropped because they came behind their order window",
     [](const StreamStatus& s) { return s.counts.too_late; }},
    {"stale", "Times that no sample came for stale_s",
     [](const StreamStatus& s) { return s.counts.stale; }},
    {"lost", "Messages lost before they were read",
     [](const StreamStatus& s) { return s.source_counts.lost; }},
    {"refused", "Messages of senders that are not allowed",
     [](const StreamStatus& s) { return s.source_counts.refused; }},
    {"reconnects", "Times that a source came back",
     [](const StreamStatus& s) { return s.source_counts.reconnects; }},
    {"gaps", "Gaps in the input", [](const StreamStatus& s) { return s.counts.gaps; }},
    {"missing", "Samples absent in all gaps",
     [](const StreamStatus& s) { return s.counts.missing; }},
    {"time_back", "Times that stepped back at the source",
     [](const StreamStatus& s) { return s.counts.time_back; }},
    {"held", "Records with a replaced input value",
     [](const StreamStatus& s) { return s.counts.held; }},
    {"late", "Records that missed their deadline",
     [](const StreamStatus& s) { return s.counts.late; }},
    {"resets", "Resets of the state", [](const StreamStatus& s) { return s.counts.resets; }},
    {"errors", "Samples that the model refused",
     [](const StreamStatus& s) { return s.counts.errors; }},
    {"snapshots", "Snapshots written", [](const StreamStatus& s) { return s.snapshots; }},
    {"snapshot_errors", "Snapshots that could not be written",
     [](const StreamStatus& s) { return s.snapshot_errors; }},
    {"log_errors", "Writes of the input log that failed",
     [](const StreamStatus& s) { return s.log_errors; }},
};

const std::vector<DaemonCounter> kDaemonCounters = {
    {"reloads", "Configurations gone over to", [](const DaemonStatus& s) { return s.reloads; }},
    {"reload_errors", "Reloads, or parts of one, that failed",
     [](const DaemonStatus& s) { return s.reload_errors; }},
    {"refused_connections", "Connections refused because their key is not known",
     [](const DaemonStatus& s) { return s.refused; }},
};

Durations::Durations(const xst::stream::Histogram& histogram) {
  histogram.ForEach([this](double lower, double upper, uint64_t n) {
    bins[BinOf(lower)] += n;
    count += n;
    sum_s += 0.5e-9 * (lower + upper - 1) * static_cast<double>(n);
  });
  p50_s = histogram.Quantile(0.5) * 1e-9;
  p99_s = histogram.Quantile(0.99) * 1e-9;
  p999_s = histogram.Quantile(0.999) * 1e-9;
  max_s = static_cast<double>(histogram.max_ns()) * 1e-9;
}

double Durations::Upper(uint32_t bin) {
  return std::ldexp(1 + 0.25 * ((bin + 1) % 4), static_cast<int>(kFirst + (bin + 1) / 4)) * 1e-9;
}

const StreamStatus* DaemonStatus::Find(const std::string& name) const {
  const auto found = std::find_if(streams.begin(), streams.end(),
                                  [&](const StreamStatus& s) { return s.name == name; });
  return found == streams.end() ? nullptr : &*found;
}

void DescribeModel(const xst::ModelInfo& info, const std::vector<std::string>& x_names,
                   const std::vector<std::string>& y_names, StreamStatus* status) {
  status->device = info.device;
  status->isa = info.isa;
  status->family = xst::Name(info.config.family);
  status->arch_hash = info.arch_hash;
  status->source_hash = info.source_hash;
  status->file_hash = info.file_hash;
  status->rate_hz = info.rate_hz;
  for (uint32_t i = 0; i < LiveSink::ShownInputs(info); ++i) {
    status->inputs.push_back({At(x_names, i), At(info.input_units, i), "input"});
  }
  if (info.config.family == xst::formats::Family::tirex) {
    status->quantiles = info.config.tirex.quantiles;
    status->horizon = info.config.tirex.forecast.horizon;
    status->every = info.config.tirex.forecast.every;
    return;
  }
  std::vector<SeriesStatus>& all = status->outputs;
  if (info.config.stream) {
    for (const auto& output : info.config.stream->outputs) {
      for (size_t i = 0; i < output.names.size(); ++i) {
        all.push_back({"", "", Name(output.kind), output.of, output.horizon});
      }
      if (output.kind == xst::formats::OutputKind::gaussian) {
        all.push_back({"", "", "sigma", output.of, output.horizon});
      }
    }
  }
  all.resize(LiveSink::ShownOutputs(info));
  for (size_t i = 0; i < all.size(); ++i) {
    all[i].name = At(y_names, i);
    all[i].unit = At(info.output_units, i);
    if (all[i].kind.empty()) all[i].kind = "raw";
    if (all[i].kind == "surprise") all[i].of = -1;  // an output, not an input
  }
}

void MeasureProcess(DaemonStatus* status) {
  std::ifstream file("/proc/self/statm");
  uint64_t pages = 0, resident = 0;
  if (file >> pages >> resident) {
    status->rss_bytes = resident * static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
  }
  rusage usage{};
  if (getrusage(RUSAGE_SELF, &usage) == 0) {
    const auto seconds = [](const timeval& t) {
      return static_cast<double>(t.tv_sec) + 1e-6 * static_cast<double>(t.tv_usec);
    };
    status->cpu_s = seconds(usage.ru_utime) + seconds(usage.ru_stime);
  }
}

void StatusBoard::Set(DaemonStatus status) {
  auto next = std::make_shared<const DaemonStatus>(std::move(status));
  const std::lock_guard lock(mutex_);
  status_.swap(next);  // the old one is freed after the lock
}

std::shared_ptr<const DaemonStatus> StatusBoard::Get() const {
  const std::lock_guard lock(mutex_);
  return status_;
}

bool StatusBoard::Healthy() const {
  const auto status = Get();
  return status->alive && std::chrono::steady_clock::now() - status->taken < kOld;
}

}  // namespace xstd
