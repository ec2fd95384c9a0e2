#include "sdk/zmq/message_source.h"

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <memory>

#include "formats/status.h"
#include "sdk/stream/records.h"
#include "sdk/zmq/endpoint.h"

namespace xst::zeromq {
namespace {

using Clock = std::chrono::steady_clock;
constexpr int kPollMs = 50;
constexpr int kMostWaiting = 1000;  // libzmq's own mark
constexpr std::chrono::milliseconds kQuiet(200), kDrain(30000);

// Receives one whole message, its last frame into `payload`; false: none within kPollMs.
bool Receive(zmq::socket_t& socket, zmq::message_t* payload, int* frames) {
  *frames = 0;
  try {
    do {
      if (!socket.recv(*payload)) return false;
      ++*frames;
    } while (payload->more());
  } catch (const zmq::error_t& e) {
    if (e.num() != EINTR) throw;  // the process was stopped and goes on
    return false;
  }
  return true;
}

void Take(stream::Stream& stream, stream::Records* records, const zmq::message_t& payload,
          int frames) {
  if (frames > 2) {
    stream.Reject("message: expected 1 or 2 frames, got " + std::to_string(frames));
  } else {
    records->Take(payload.to_string_view());
  }
}

}  // namespace

std::unique_ptr<MessageSource> MessageSource::Pull(zmq::context_t& context,
                                                   const std::string& endpoint,
                                                   const CurveServer* curve) {
  std::unique_ptr<MessageSource> source(
      new MessageSource(zmq::socket_t(context, zmq::socket_type::pull)));
  Harden(source->socket_);
  // While the ring is full libzmq does not read: a heartbeat would then end a healthy connection,
  // and what its peer had already sent would be lost with it.
  KeepAlive(source->socket_);
  source->socket_.set(zmq::sockopt::rcvtimeo, kPollMs);
  // Little lies between a sender that never pauses and the ring, so little is lost at a stop.
  source->socket_.set(zmq::sockopt::rcvhwm, 256);
  source->socket_.set(zmq::sockopt::rcvbuf, 64 * 1024);
  source->endpoint_ = Bind(source->socket_, endpoint, "source endpoint", curve);
  return source;
}

std::unique_ptr<MessageSource> MessageSource::Sub(zmq::context_t& context,
                                                  const std::string& endpoint,
                                                  const std::string& topic,
                                                  const std::string& server_key,
                                                  const KeyPair& own) {
  std::unique_ptr<MessageSource> source(
      new MessageSource(zmq::socket_t(context, zmq::socket_type::sub)));
  Harden(source->socket_);
  source->socket_.set(zmq::sockopt::rcvtimeo, kPollMs);
  source->socket_.set(zmq::sockopt::subscribe, topic);
  if (!server_key.empty()) UseKeys(source->socket_, server_key, own);
  try {
    source->socket_.connect(endpoint);
  } catch (const zmq::error_t& e) {
    throw Error(Status::invalid_argument,
                "source endpoint: expected tcp://HOST:PORT or ipc://PATH, got " + endpoint + ": " +
                    e.what());
  }
  return source;
}

void MessageSource::Run(stream::Stream& stream, std::stop_token stop) {
  stream::Records records(stream);
  zmq::message_t payload;
  int frames = 0;
  while (!stop.stop_requested()) {
    if (Receive(socket_, &payload, &frames)) Take(stream, &records, payload, frames);
  }
  if (endpoint_.empty()) {  // SUB: what is published from now on is not waited for
    socket_.set(zmq::sockopt::rcvtimeo, 0);
    for (int i = 0; i < kMostWaiting && Receive(socket_, &payload, &frames); ++i) {
      Take(stream, &records, payload, frames);
    }
    return;
  }
  // Unbinding ends the connections, and what they hold is lost: everything is taken before.
  const auto end = Clock::now() + kDrain;
  auto quiet = Clock::now() + kQuiet;
  while (Clock::now() < std::min(end, quiet)) {
    if (!Receive(socket_, &payload, &frames)) continue;
    Take(stream, &records, payload, frames);
    quiet = Clock::now() + kQuiet;
  }
  socket_.unbind(endpoint_);
  while (Receive(socket_, &payload, &frames)) Take(stream, &records, payload, frames);
  if (Clock::now() >= end && quiet > end) {
    throw Error(Status::io_error,
                "source: expected its senders to pause within " + std::to_string(kDrain.count()) +
                    " ms of the stop, got messages to the end; some of the last may be lost");
  }
}

}  // namespace xst::zeromq
