#include "sdk/zmq/pub_sink.h"

#include <algorithm>
#include <memory>
#include <thread>

#include "formats/notices.h"
#include "formats/wire.h"
#include "formats/wire_flat.h"
#include "sdk/stream/stream.h"
#include "sdk/zmq/endpoint.h"

namespace xst::zeromq {
namespace {

using std::chrono::milliseconds;

constexpr auto kFirst = zmq::send_flags::sndmore | zmq::send_flags::dontwait;
constexpr milliseconds kLive(100), kStuck(1000), kStuckLongest(60000);
constexpr milliseconds kIdleEvery(2), kNamesEvery(1000);
constexpr char kHeartbeatTopic[] = "_xstd/";

int64_t WallNs() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(
             std::chrono::system_clock::now().time_since_epoch())
      .count();
}

std::string AlarmTopic(const stream::Stream& stream) {
  return "alarm/" + stream.options().name + "/";
}

}  // namespace

// XPUB is PUB that also says who subscribes.
PubSink::PubSink(zmq::context_t& context, const PubOptions& options, const CurveServer* curve)
    : options_(options), socket_(context, zmq::socket_type::xpub) {
  constexpr int kHighWaterMark = 1000, kSendBuffer = 128 * 1024, kLingerMs = 3000;
  Harden(socket_);
  socket_.set(zmq::sockopt::maxmsgsize, kMaxRequest);
  // The answer to a heartbeat that meets a closed connection makes the kernel throw away what it
  // has not yet sent.
  KeepAlive(socket_);
  socket_.set(zmq::sockopt::sndhwm, kHighWaterMark);
  socket_.set(zmq::sockopt::sndbuf, kSendBuffer);
  socket_.set(zmq::sockopt::linger, kLingerMs);
  endpoint_ = Bind(socket_, options_.endpoint, "publish endpoint", curve);
  if (!options_.snapshot.empty()) {
    snapshot_ = std::make_unique<SnapshotServer>(context, options_.snapshot, curve);
  }
}

PubSink::~PubSink() = default;

void PubSink::Write(const stream::Stream& stream, const stream::OutputHead& head,
                    std::span<const float> y, std::span<const float> x) {
  const auto now = Clock::now();
  Last& last = last_[&stream];
  last.head = head;
  last.t_publish_ns = WallNs();
  last.t_receive_ns = last.t_publish_ns - (stream::NowNs() - head.receive_ns);
  last.y.assign(y.begin(), y.end());
  last.x.assign(x.begin(), x.end());
  const bool names = now >= last.names_due;
  if (names) last.names_due = now + kNamesEvery;
  payload_.clear();
  Encode(stream, last, names, &payload_);
  topic_.assign(stream.options().name).push_back('/');
  Publish(stream, head.quality);
  if (now >= idle_due_) Idle();  // a busy publisher has no idle moment
}

void PubSink::Encode(const stream::Stream& stream, const Last& last, bool names,
                     std::string* out) const {
  formats::OutputRecord record;
  record.timestamp = last.head.t;
  record.seq = last.head.seq;
  record.epoch = last.head.epoch;
  record.quality = last.head.quality;
  record.latency_us = static_cast<double>(last.head.latency_ns) * 1e-3;
  record.gap_s = last.head.gap_s;
  record.t_receive_ns = last.t_receive_ns;
  record.t_publish_ns = last.t_publish_ns;
  record.times = options_.times;
  record.y = last.y;
  record.x = last.x;
  if (options_.encoding == PubOptions::Encoding::json) {
    formats::WriteOutput(record, stream.y_names(), stream.x_names(), out);
  } else {
    formats::WriteOutputFlat(record, names ? &stream.y_names() : nullptr,
                             names ? &stream.x_names() : nullptr, out);
  }
}

void PubSink::WriteAlarm(const stream::Stream& stream, const stream::Alarm& alarm,
                         const stream::OutputHead& head, float value) {
  formats::AlarmRecord record;
  record.timestamp = head.t;
  record.seq = head.seq;
  record.epoch = head.epoch;
  record.name = alarm.rule().name;
  record.output = alarm.rule().output;
  record.value = value;
  record.active = alarm.active();
  payload_ = formats::WriteAlarm(record);
  topic_ = AlarmTopic(stream);
  last_[&stream].alarms[&alarm] = payload_;
  Publish(stream, head.quality);
}

void PubSink::Publish(const stream::Stream& stream, uint32_t quality) {
  // A stream that loses nothing on its way in waits for readers that are only behind; a live one
  // not for long, or one reader that is stopped would hold up all that comes now.
  const bool lossless = stream.options().on_full == stream::OnFull::block;
  const bool live = stream.options().deadline && !(quality & kHistorical);
  const milliseconds patience = stream.options().patience;
  if (!lossless || !SendPatiently(live ? std::min(patience, kLive) : patience)) Send();
}

bool PubSink::Send() {
  if (!socket_.send(zmq::buffer(topic_), kFirst)) return false;
  socket_.send(zmq::buffer(payload_), zmq::send_flags::dontwait);
  return true;
}

bool PubSink::SendPatiently(milliseconds patience) {
  const auto begin = Clock::now();
  if (begin < stuck_until_) return false;
  socket_.set(zmq::sockopt::xpub_nodrop, true);
  const std::unique_ptr<zmq::socket_t, void (*)(zmq::socket_t*)> drops_again(
      &socket_, [](zmq::socket_t* s) { s->set(zmq::sockopt::xpub_nodrop, false); });
  bool sent = Send();
  while (!sent && Clock::now() - begin < patience) {
    std::this_thread::sleep_for(std::chrono::microseconds(100));
    sent = Send();
  }
  if (sent) {
    stuck_for_ = {};
  } else {
    stuck_for_ = std::clamp<Clock::duration>(2 * stuck_for_, kStuck, kStuckLongest);
    stuck_until_ = Clock::now() + stuck_for_;
  }
  return sent;
}

void PubSink::Idle() {
  PollSubscribed();
  if (snapshot_) {
    snapshot_->Serve([this](auto prefix, const auto& add) { Answer(prefix, add); });
  }
  const auto now = Clock::now();
  if (options_.heartbeat_s > 0 && now >= heartbeat_due_) {
    heartbeat_due_ = now + std::chrono::duration_cast<Clock::duration>(
                               std::chrono::duration<double>(options_.heartbeat_s));
    SendHeartbeat(false);
  }
  idle_due_ = now + kIdleEvery;
}

void PubSink::Bye() {
  if (options_.heartbeat_s > 0) SendHeartbeat(true);
}

void PubSink::SendHeartbeat(bool bye) {
  formats::Heartbeat heartbeat;
  heartbeat.timestamp = static_cast<double>(WallNs()) * 1e-9;
  heartbeat.bye = bye;
  for (const auto& [stream, last] : last_) {
    if (last.y.empty()) continue;
    heartbeat.streams.push_back({stream->options().name, last.head.epoch, last.head.seq});
  }
  topic_ = kHeartbeatTopic;
  payload_ = formats::WriteHeartbeat(heartbeat);
  Send();
}

void PubSink::Answer(std::string_view prefix, const SnapshotServer::Add& add) const {
  std::string payload;
  for (const auto& [stream, last] : last_) {
    const std::string topic = stream->options().name + "/";
    if (topic.starts_with(prefix)) {
      payload.clear();
      Encode(*stream, last, true, &payload);
      add(topic, payload);
    }
    const std::string alarm_topic = AlarmTopic(*stream);
    if (!alarm_topic.starts_with(prefix)) continue;
    for (const auto& [alarm, text] : last.alarms) add(alarm_topic, text);
  }
}

bool PubSink::PollSubscribed() {
  constexpr int kAtOnce = 10000;  // a peer that never pauses does not keep the publisher
  zmq::message_t message;
  for (int i = 0; i < kAtOnce && socket_.recv(message, zmq::recv_flags::dontwait); ++i) {
    if (message.size() > 0 && *message.data<char>() == 1) subscribed_ = true;
  }
  return subscribed_;
}

}  // namespace xst::zeromq
