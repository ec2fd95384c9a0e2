#include "sdk/stream/records.h"

namespace xst::stream {

SampleHead HeadOf(const formats::InputRecord& record) {
  SampleHead head;
  head.receive_ns = NowNs();
  head.has_t = record.t.has_value();
  head.t = record.t.value_or(0);
  head.has_seq = record.seq.has_value();
  head.seq = record.seq.value_or(0);
  return head;
}

void Records::Take(std::string_view record) {
  Fault fault;
  if (formats::ParseInput(record, width_, &record_, &fault) != Status::ok) {
    stream_.Reject(fault.message);
    return;
  }
  stream_.Offer(HeadOf(record_), record_.x, {});
}

void Records::TakeLines(std::string_view lines) {
  if (lines.size() > kMaxBytes) {
    stream_.Reject("message: expected at most 64 KiB, got more");
    return;
  }
  while (!lines.empty()) {
    const size_t end = lines.find('\n');
    const std::string_view line = lines.substr(0, end);
    if (line.find_first_not_of(" \t\r") != std::string_view::npos) Take(line);
    lines.remove_prefix(end == std::string_view::npos ? lines.size() : end + 1);
  }
}

}  // namespace xst::stream
