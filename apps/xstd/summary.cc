#include "apps/xstd/summary.h"

#include <cerrno>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>

#include "formats/status.h"

namespace xstd {
namespace {

nlohmann::ordered_json Microseconds(const xst::stream::Histogram& h) {
  return {{"p50", h.Quantile(0.5) * 1e-3},
          {"p99", h.Quantile(0.99) * 1e-3},
          {"p999", h.Quantile(0.999) * 1e-3},
          {"max", static_cast<double>(h.max_ns()) * 1e-3}};
}

}  // namespace

void WriteSummary(const std::string& path, const std::vector<StreamSummary>& streams) {
  nlohmann::ordered_json all = nlohmann::ordered_json::array();
  for (const StreamSummary& s : streams) {
    const auto c = s.stream->counts();
    all.push_back({{"name", s.stream->options().name},
                   {"samples", c.samples},
                   {"outputs", c.outputs},
                   {"dropped", c.dropped},
                   {"malformed", c.rejected},
                   {"duplicates", c.duplicates},
                   {"gaps", c.gaps},
                   {"missing", c.missing},
                   {"held", c.held},
                   {"late", c.late},
                   {"resets", c.resets},
                   {"errors", c.errors},
                   {"step_us", Microseconds(s.stream->step_time())},
                   {"latency_us", Microseconds(s.stream->latency())},
                   {"snapshots", s.snapshots},
                   {"snapshot_errors", s.snapshot_errors},
                   {"log_errors", s.log_errors}});
  }
  std::ofstream file(path, std::ios::binary);
  file << nlohmann::ordered_json{{"streams", all}}.dump(2) << "\n";
  file.close();
  if (!file) {
    throw xst::Error(xst::Status::io_error,
                     "summary " + path + ": expected a writable file, got " + std::strerror(errno));
  }
}

}  // namespace xstd
