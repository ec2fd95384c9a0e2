#include "apps/xstd/records.h"

namespace xstd {

using xst::stream::NowNs;
using xst::stream::SampleHead;

void Records::Take(std::string_view lines) {
  if (lines.size() > kMaxBytes) {
    stream_.Reject("message: expected at most 64 KiB, got more");
    return;
  }
  while (!lines.empty()) {
    const size_t end = lines.find('\n');
    TakeLine(lines.substr(0, end));
    lines.remove_prefix(end == std::string_view::npos ? lines.size() : end + 1);
  }
}

void Records::TakeLine(std::string_view line) {
  if (line.find_first_not_of(" \t\r") == std::string_view::npos) return;
  SampleHead head;
  head.receive_ns = NowNs();
  xst::Fault fault;
  if (xst::formats::ParseInput(line, width_, &record_, &fault) != xst::Status::ok) {
    stream_.Reject(fault.message);
    return;
  }
  head.has_t = record_.t.has_value();
  head.t = record_.t.value_or(0);
  head.has_seq = record_.seq.has_value();
  head.seq = record_.seq.value_or(0);
  stream_.Offer(head, record_.x, {});
}

}  // namespace xstd
