// Publishes outputs: two frames, topic "NAME/" and one JSON object (specification stream.md
// section 4).
#pragma once

#include <cstdint>
#include <string>
#include <zmq.hpp>

#include "sdk/stream/source.h"

namespace xst::zeromq {

// A subscriber that does not keep up loses messages at its own high-water mark and sees it in
// `seq`; it never holds up the others or the step.
class PubSink : public stream::Sink {
 public:
  // Binds. Throws Error: address not allowed, or in use.
  PubSink(zmq::context_t& context, const std::string& endpoint);
  ~PubSink() override;

  void Write(const stream::Stream& stream, const stream::OutputHead& head, std::span<const float> y,
             std::span<const float> x) override;
  void Idle() override;

  const std::string& endpoint() const { return endpoint_; }
  // Whether someone has subscribed so far. Same thread as Write, or while that is not running.
  bool PollSubscribed();

 private:
  zmq::socket_t socket_;
  std::string endpoint_;
  std::string topic_, payload_;
  bool subscribed_ = false;
};

}  // namespace xst::zeromq
