// The last records for those who come late (the Clone pattern of ZeroMQ's guide).
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <zmq.hpp>

namespace xst::zeromq {

class CurveServer;

// A ROUTER. A client (REQ or DEALER) sends one frame, a topic prefix; it gets one message: topic
// and payload of every last record whose topic begins so, and an empty frame at the end. Who
// subscribed before asking drops the updates that its snapshot covers, by epoch and seq.
class SnapshotServer {
 public:
  using Add = std::function<void(std::string_view topic, std::string_view payload)>;
  using Fill = std::function<void(std::string_view prefix, const Add& add)>;

  // Binds. Throws Error: address not allowed, or in use.
  SnapshotServer(zmq::context_t& context, const std::string& endpoint, const CurveServer* curve);

  // Answers who has asked; never waits.
  void Serve(const Fill& fill);

  const std::string& endpoint() const { return endpoint_; }

 private:
  zmq::socket_t socket_;
  std::string endpoint_;
};

}  // namespace xst::zeromq
