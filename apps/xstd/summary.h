// What a run did, as JSON: {"streams": [{"name", "samples", "outputs", "dropped", "malformed",
// "duplicates", "gaps", "missing", "held", "late", "resets", "errors", "step_us": {"p50", "p99",
// "p999", "max"}, "latency_us": {…}, "snapshots", "snapshot_errors", "log_errors"}, …]}. "late"
// counts the deadlines missed, "log_errors" the failed writes of an input log.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "sdk/stream/stream.h"

namespace xstd {

struct StreamSummary {
  const xst::stream::Stream* stream = nullptr;
  uint64_t snapshots = 0, snapshot_errors = 0, log_errors = 0;
};

// Throws xst::Error if the file cannot be written.
void WriteSummary(const std::string& path, const std::vector<StreamSummary>& streams);

}  // namespace xstd
