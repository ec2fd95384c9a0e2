#include "sdk/zmq/pub_sink.h"

#include "formats/wire.h"
#include "sdk/stream/stream.h"
#include "sdk/zmq/endpoint.h"

namespace xst::zeromq {

// XPUB is PUB that also says who subscribes.
PubSink::PubSink(zmq::context_t& context, const std::string& endpoint)
    : socket_(context, zmq::socket_type::xpub) {
  constexpr int kHighWaterMark = 1000, kLingerMs = 1000;
  Harden(socket_);
  socket_.set(zmq::sockopt::sndhwm, kHighWaterMark);
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
  // dontwait never blocks a publisher: a full pipe drops for that subscriber.
  socket_.send(zmq::buffer(topic_), zmq::send_flags::sndmore | zmq::send_flags::dontwait);
  socket_.send(zmq::buffer(payload_), zmq::send_flags::dontwait);
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
