// Samples from ZeroMQ messages, one a message: JSON or a CSV line (specification stream.md section
// 4); with two frames the first is a topic.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <zmq.hpp>

#include "sdk/stream/source.h"
#include "sdk/zmq/curve.h"

namespace xst::zeromq {

class CurveServer;

class MessageSource : public stream::Source {
 public:
  // PULL that binds: a PUSH client blocks once ring, socket and network buffers are full. Throws
  // Error: address not allowed, or in use.
  static std::unique_ptr<MessageSource> Pull(zmq::context_t& context, const std::string& endpoint,
                                             const CurveServer* curve = nullptr);
  // SUB that connects to a publisher, now or whenever it comes up. Throws Error: no such kind of
  // address. With a `server_key` the publisher must own it, and knows us as `own`.
  static std::unique_ptr<MessageSource> Sub(zmq::context_t& context, const std::string& endpoint,
                                            const std::string& topic,
                                            const std::string& server_key = {},
                                            const KeyPair& own = {});

  // At stop: no new connections, then what already arrived until the socket is quiet.
  void Run(stream::Stream& stream, std::stop_token stop) override;
  std::string endpoint() const override { return endpoint_; }

 private:
  explicit MessageSource(zmq::socket_t socket) : socket_(std::move(socket)) {}

  zmq::socket_t socket_;
  std::string endpoint_;  // as bound; empty for SUB
};

}  // namespace xst::zeromq
