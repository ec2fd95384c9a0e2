#include "sdk/zmq/acked_source.h"

#include <cerrno>
#include <charconv>
#include <limits>
#include <thread>
#include <utility>

#include "formats/status.h"
#include "formats/text.h"
#include "sdk/stream/records.h"
#include "sdk/stream/stream.h"
#include "sdk/zmq/endpoint.h"

namespace xst::zeromq {
namespace {

using std::chrono::steady_clock;

constexpr int kPollMs = 50;
constexpr size_t kMostAtOnce = 1024;  // messages an fsync

// The sequence number that a CSV line begins with; cuts it off.
bool CutSeq(std::string_view* line, uint64_t* seq) {
  const auto [end, error] = std::from_chars(line->data(), line->data() + line->size(), *seq);
  if (error != std::errc() || end == line->data() + line->size() || *end != ',') return false;
  line->remove_prefix(static_cast<size_t>(end - line->data()) + 1);
  return true;
}

std::string Quoted(const std::string& text) {
  std::string out = "\"";
  for (const char c : formats::Printable(text, 400)) {
    if (c == '"' || c == '\\') out += '\\';
    out += c;
  }
  return out + '"';
}

}  // namespace

AckedSource::AckedSource(zmq::context_t& context, const std::string& endpoint,
                         stream::SampleLog* log, const CurveServer* curve)
    : socket_(context, zmq::socket_type::router), log_(*log) {
  Harden(socket_);
  socket_.set(zmq::sockopt::rcvtimeo, kPollMs);
  socket_.set(zmq::sockopt::linger, 0);              // a lost answer is asked for again
  socket_.set(zmq::sockopt::router_handover, true);  // a client that came back under its name
  endpoint_ = Bind(socket_, endpoint, "source endpoint", curve);
}

void AckedSource::Run(stream::Stream& stream, std::stop_token stop) {
  const uint32_t width = stream.info().input_width;
  bool taken = true;
  log_.Replay(stream.start_position(),
              [&](const stream::SampleHead& head, std::span<const float> x) {
                return taken = stream.Offer(head, x, stop);
              });
  last_ = log_.last_seq();
  while (taken && !stop.stop_requested()) {
    Gather(stream);
    while (!log_.Commit(heads_, x_)) {
      if (stop.stop_requested()) return;
      std::this_thread::sleep_for(kRetry);
    }
    SendAnswers();
    for (size_t i = 0; taken && i < heads_.size(); ++i) {
      taken = stream.Offer(heads_[i], std::span(x_).subspan(i * width, width), stop);
    }
  }
}

// What has arrived, and what arrives within kGather behind it.
void AckedSource::Gather(stream::Stream& stream) {
  heads_.clear();
  x_.clear();
  answers_.clear();
  const auto flags = [&] {
    return answers_.empty() ? zmq::recv_flags::none : zmq::recv_flags::dontwait;
  };
  zmq::message_t payload;
  Answer answer;
  int frames = 0;
  auto end = steady_clock::time_point::max();
  while (answers_.size() < kMostAtOnce && Receive(flags(), &payload, &answer, &frames)) {
    if (answers_.empty()) end = steady_clock::now() + kGather;
    if (frames > 2) {
      answer.error =
          "message: expected 1 frame behind an empty one or none, got " + std::to_string(frames);
    } else {
      answer.error = Take(stream, payload.to_string_view());
    }
    if (!answer.error.empty()) stream.Reject(answer.error);
    answers_.push_back(std::move(answer));
    if (steady_clock::now() >= end) break;
  }
}

// One message; `frames` counts those behind the client's identity, of which `payload` is the last.
bool AckedSource::Receive(zmq::recv_flags flags, zmq::message_t* payload, Answer* answer,
                          int* frames) {
  *frames = 0;
  *answer = {};
  payload->rebuild();
  try {
    if (!socket_.recv(answer->client, flags)) return false;
    bool more = answer->client.more();
    while (more) {
      if (!socket_.recv(*payload, zmq::recv_flags::none)) return false;
      more = payload->more();
      if (++*frames == 1 && more && payload->size() == 0) {
        answer->delimiter = true;
        *frames = 0;
      }
    }
  } catch (const zmq::error_t& e) {
    if (e.num() != EINTR) throw;  // the process was stopped and goes on
    return false;
  }
  return true;
}

std::string AckedSource::Take(stream::Stream& stream, std::string_view message) {
  if (message.empty()) return {};
  uint64_t line_seq = 0;
  const bool csv = message.front() != '{';
  if (csv && !CutSeq(&message, &line_seq)) {
    return "line: expected a sequence number and values, got \"" + formats::Printable(message) +
           "\"";
  }
  Fault fault;
  if (formats::ParseInput(message, stream.info().input_width, &record_, &fault) != Status::ok) {
    return fault.message;
  }
  if (csv) record_.seq = line_seq;
  if (!record_.seq || *record_.seq == std::numeric_limits<uint64_t>::max()) {
    return "seq: expected a number that counts from 0, got " +
           std::string(record_.seq ? "the last there is" : "none");
  }
  if (!IsNext(*record_.seq)) return {};
  stream::SampleHead head = stream::HeadOf(record_);
  if (!head.has_t) head.t = stream::WallSeconds();  // kept: the same at every replay
  last_ = head.seq;
  heads_.push_back(head);
  x_.insert(x_.end(), record_.x.begin(), record_.x.end());
  return {};
}

bool AckedSource::IsNext(uint64_t seq) {
  if (last_ && seq <= *last_) return false;
  if (seq == (last_ ? *last_ + 1 : 0) || (seq == ahead_ && ahead_answered_)) {
    ahead_.reset();
    return true;
  }
  if (!ahead_ || seq < *ahead_) {
    ahead_ = seq;
    ahead_answered_ = false;
  }
  return false;
}

void AckedSource::SendAnswers() {
  const std::string acked = "{\"acked\": " + (last_ ? std::to_string(*last_) : "null") + "}";
  for (Answer& answer : answers_) {
    const std::string text =
        answer.error.empty() ? acked : "{\"error\": " + Quoted(answer.error) + "}";
    // A client that is gone, or reads no answers, gets none.
    const auto first = zmq::send_flags::sndmore | zmq::send_flags::dontwait;
    if (!socket_.send(answer.client, first)) continue;
    if (answer.delimiter) socket_.send(zmq::message_t(), first);
    socket_.send(zmq::buffer(text), zmq::send_flags::dontwait);
  }
  ahead_answered_ = true;
}

}  // namespace xst::zeromq
