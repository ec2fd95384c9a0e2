// The status and the points of a stream as text: JSON, Prometheus.
#pragma once

#include <string>

#include "apps/xstd/live_sink.h"
#include "apps/xstd/status_board.h"

namespace xstd {

// {"version", "uptime_s", "healthy", …, "streams": [{"name", "model", "counts": {…}, …}]}
std::string StatusJson(const DaemonStatus& status, bool healthy);

// The text format of Prometheus, version 0.0.4.
std::string Metrics(const DaemonStatus& status, bool healthy, uint64_t viewers);

// For the live page: what the series of a stream are; how one stream and the process do; points.
std::string SeriesJson(const StreamStatus& stream);
std::string PageStatusJson(const DaemonStatus& status, bool healthy, const StreamStatus& stream);
std::string PointsJson(const LiveBatch& batch);

}  // namespace xstd
