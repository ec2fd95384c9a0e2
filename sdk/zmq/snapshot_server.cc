#include "sdk/zmq/snapshot_server.h"

#include <array>
#include <utility>

#include "sdk/zmq/endpoint.h"

namespace xst::zeromq {
namespace {

constexpr auto kMore = zmq::send_flags::sndmore | zmq::send_flags::dontwait;

}  // namespace

SnapshotServer::SnapshotServer(zmq::context_t& context, const std::string& endpoint,
                               const CurveServer* curve)
    : socket_(context, zmq::socket_type::router) {
  // Waiting for a client that does not read; its next are dropped. Marks of a few messages leave
  // libzmq 4.3.4 stuck below them now and then.
  constexpr int kAnswers = 100;
  constexpr int kQuestions = 64;
  Harden(socket_);
  socket_.set(zmq::sockopt::maxmsgsize, kMaxRequest);
  socket_.set(zmq::sockopt::sndhwm, kAnswers);
  socket_.set(zmq::sockopt::rcvhwm, kQuestions);
  socket_.set(zmq::sockopt::linger, 0);
  endpoint_ = Bind(socket_, endpoint, "publish.snapshot", curve);
}

void SnapshotServer::Serve(const Fill& fill) {
  constexpr int kAtOnce = 1;  // then the updates have their turn
  for (int served = 0; served < kAtOnce; ++served) {
    // The client's id, REQ's empty delimiter or none, the prefix.
    std::array<zmq::message_t, 3> frames;
    size_t count = 0;
    zmq::message_t frame;
    do {
      if (!socket_.recv(frame, zmq::recv_flags::dontwait)) return;
      if (count < frames.size()) frames[count] = std::move(frame);
      ++count;
    } while (socket_.get(zmq::sockopt::rcvmore));
    if (count < 2 || count > frames.size()) continue;
    for (size_t i = 0; i + 1 < count; ++i) {
      if (!socket_.send(zmq::buffer(frames[i].to_string_view()), kMore)) return;
    }
    fill(frames[count - 1].to_string_view(), [&](std::string_view topic, std::string_view payload) {
      socket_.send(zmq::buffer(topic), kMore);
      socket_.send(zmq::buffer(payload), kMore);
    });
    socket_.send(zmq::str_buffer(""), zmq::send_flags::dontwait);
  }
}

}  // namespace xst::zeromq
