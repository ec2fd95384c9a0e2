#include "sdk/zmq/pub_sink.h"

#include <thread>

#include "formats/wire.h"
#include "sdk/stream/stream.h"
#include "sdk/zmq/endpoint.h"

namespace xst::zeromq {
namespace {

using std::chrono::steady_clock;

constexpr auto kFirst = zmq::send_flags::sndmore | zmq::send_flags::dontwait;
constexpr std::chrono::milliseconds kStuck(1000);

}  // namespace

// XPUB is PUB that also says who subscribes.
PubSink::PubSink(zmq::context_t& context, const std::string& endpoint)
    : socket_(context, zmq::socket_type::xpub) {
  constexpr int kHighWaterMark = 1000, kSendBuffer = 128 * 1024, kLingerMs = 1000;
  Harden(socket_);
  socket_.set(zmq::sockopt::sndhwm, kHighWaterMark);
  socket_.set(zmq::sockopt::sndbuf, kSendBuffer);
  socket_.set(zmq::sockopt::linger, kLingerMs);
  endpoint_ = BindLoopback(socket_, endpoint, "publish endpoint");
}

PubSink::~PubSink() = default;

void PubSink::Write(const stream::Stream& stream, const stream::OutputHead& head,
                    std::span<const float> y, std::span<const float> x) {
  formats::OutputRecord record;
  record.timestamp = head.t;
  record.seq = head.seq;
  record.epoch = head.epoch;
  record.quality = head.quality;
  record.latency_us = static_cast<double>(head.latency_ns) * 1e-3;
  record.gap_s = head.gap_s;
  record.y = y;
  record.x = x;
  payload_.clear();
  formats::WriteOutput(record, stream.y_names(), stream.x_names(), &payload_);
  topic_.assign(stream.options().name).push_back('/');
  // A stream that loses nothing on its way in waits for readers that are only behind.
  const bool lossless = stream.options().on_full == stream::OnFull::block;
  if (!lossless || !SendPatiently(stream.options().patience)) Send();
}

bool PubSink::Send() {
  if (!socket_.send(zmq::buffer(topic_), kFirst)) return false;
  socket_.send(zmq::buffer(payload_), zmq::send_flags::dontwait);
  return true;
}

bool PubSink::SendPatiently(std::chrono::milliseconds patience) {
  const auto begin = steady_clock::now();
  if (begin < stuck_until_) return false;
  socket_.set(zmq::sockopt::xpub_nodrop, true);
  bool sent = Send();
  while (!sent && steady_clock::now() - begin < patience) {
    std::this_thread::sleep_for(std::chrono::microseconds(100));
    sent = Send();
  }
  socket_.set(zmq::sockopt::xpub_nodrop, false);
  if (!sent) stuck_until_ = steady_clock::now() + kStuck;
  return sent;
}

void PubSink::Idle() { PollSubscribed(); }

bool PubSink::PollSubscribed() {
  zmq::message_t message;
  while (socket_.recv(message, zmq::recv_flags::dontwait)) {
    if (message.size() > 0 && *message.data<char>() == 1) subscribed_ = true;
  }
  return subscribed_;
}

}  // namespace xst::zeromq
