#include <prometheus/metric_family.h>
#include <prometheus/text_serializer.h>

#include <cmath>
#include <functional>
#include <utility>
#include <vector>

#include "apps/xstd/status_text.h"

namespace xstd {
namespace {

using prometheus::ClientMetric;
using prometheus::MetricFamily;
using prometheus::MetricType;
using Families = std::vector<MetricFamily>;

MetricFamily& Add(Families* all, std::string name, std::string help, MetricType type) {
  all->push_back({std::move(name), std::move(help), type, {}});
  return all->back();
}

ClientMetric Labelled(const StreamStatus& stream) {
  ClientMetric metric;
  metric.label = {{"stream", stream.name}};
  return metric;
}

void AddGauge(Families* all, const char* name, const char* help, double value) {
  ClientMetric metric;
  metric.gauge.value = value;
  Add(all, name, help, MetricType::Gauge).metric.push_back(metric);
}

void AddCounter(Families* all, const std::string& name, const char* help, double value) {
  ClientMetric metric;
  metric.counter.value = value;
  Add(all, name, help, MetricType::Counter).metric.push_back(metric);
}

// One gauge, a line a stream.
void AddStreamGauge(Families* all, const DaemonStatus& status, const char* name, const char* help,
                    const std::function<double(const StreamStatus&)>& get) {
  MetricFamily& family = Add(all, name, help, MetricType::Gauge);
  for (const StreamStatus& s : status.streams) {
    family.metric.push_back(Labelled(s));
    family.metric.back().gauge.value = get(s);
  }
}

// Buckets end at powers of two, where the bins do: their counts are exact.
void AddHistogram(Families* all, const DaemonStatus& status, const char* name, const char* help,
                  const Durations StreamStatus::*durations) {
  MetricFamily& family = Add(all, name, help, MetricType::Histogram);
  for (const StreamStatus& s : status.streams) {
    const Durations& d = s.*durations;
    ClientMetric metric = Labelled(s);
    metric.histogram.sample_count = d.count;
    metric.histogram.sample_sum = d.sum_s;
    uint64_t below = 0;
    for (uint32_t bin = 0; bin + 4 < Durations::kBins; ++bin) {
      below += d.bins[bin];
      if (bin % 4 == 3) metric.histogram.bucket.push_back({below, Durations::Upper(bin)});
    }
    metric.histogram.bucket.push_back({d.count, INFINITY});
    family.metric.push_back(std::move(metric));
  }
}

}  // namespace

std::string Metrics(const DaemonStatus& status, bool healthy, uint64_t viewers) {
  Families all;
  MetricFamily& build = Add(&all, "xstd_build_info", "Version of the daemon", MetricType::Gauge);
  ClientMetric one;
  one.label = {{"version", status.version}};
  one.gauge.value = 1;
  build.metric.push_back(one);
  AddGauge(&all, "xstd_healthy", "1 while steps move or nothing waits", healthy);
  AddGauge(&all, "xstd_uptime_seconds", "Time since the start", status.uptime_s);
  AddGauge(&all, "xstd_viewers", "Open live pages", static_cast<double>(viewers));
  AddGauge(&all, "process_start_time_seconds", "Start, since 1970", status.start_time);
  AddGauge(&all, "process_resident_memory_bytes", "Resident memory",
           static_cast<double>(status.rss_bytes));
  AddCounter(&all, "process_cpu_seconds_total", "User and system time", status.cpu_s);
  for (const DaemonCounter& counter : kDaemonCounters) {
    AddCounter(&all, std::string("xstd_") + counter.name + "_total", counter.help,
               static_cast<double>(counter.get(status)));
  }

  MetricFamily& info = Add(&all, "xstd_stream_info", "What a stream runs on", MetricType::Gauge);
  for (const StreamStatus& s : status.streams) {
    ClientMetric metric = Labelled(s);
    metric.label.insert(metric.label.end(), {{"device", s.device},
                                             {"family", s.family},
                                             {"arch_hash", s.arch_hash},
                                             {"file_hash", s.file_hash},
                                             {"source", s.source}});
    metric.gauge.value = 1;
    info.metric.push_back(std::move(metric));
  }
  for (const StreamCounter& counter : kStreamCounters) {
    MetricFamily& family = Add(&all, std::string("xstd_stream_") + counter.name + "_total",
                               counter.help, MetricType::Counter);
    for (const StreamStatus& s : status.streams) {
      family.metric.push_back(Labelled(s));
      family.metric.back().counter.value = static_cast<double>(counter.get(s));
    }
  }
  AddStreamGauge(&all, status, "xstd_stream_queue_samples", "Samples in the input queue",
                 [](const auto& s) { return static_cast<double>(s.queued); });
  AddStreamGauge(&all, status, "xstd_stream_queue_capacity_samples", "Room of the input queue",
                 [](const auto& s) { return static_cast<double>(s.queue); });
  AddStreamGauge(&all, status, "xstd_stream_up", "1 until the source has ended or failed",
                 [](const auto& s) { return s.ended || s.failed ? 0.0 : 1.0; });
  AddStreamGauge(&all, status, "xstd_stream_last_timestamp_seconds",
                 "Time of the last record, the source's",
                 [](const auto& s) { return s.has_last ? s.last_t : NAN; });
  AddHistogram(&all, status, "xstd_stream_step_seconds", "Time of one step", &StreamStatus::step);
  AddHistogram(&all, status, "xstd_stream_latency_seconds", "Arrival of a sample to its record",
               &StreamStatus::latency);
  return prometheus::TextSerializer().Serialize(all);
}

}  // namespace xstd
