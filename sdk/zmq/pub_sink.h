// Publishes outputs: two frames, topic "NAME/" and one JSON object (specification stream.md
// section 4).
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <zmq.hpp>

#include "sdk/stream/source.h"

namespace xst::zeromq {

// A subscriber that does not keep up loses messages at its own high-water mark and sees it in
// `seq`. Only a stream that loses nothing on its way in (on_full: block) waits for readers that are
// behind, and only for those that do read: one that took nothing for the stream's patience is not
// waited for again within the next second. libzmq learns of what a reader took in portions of half
// a high-water mark (500 outputs), so at 100 ms one of fewer than 5000 outputs a second is mistaken
// for one that does not read. Little waits here for a reader, 1000 outputs and 128 KiB, for it dies
// with the process.
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
  bool Send();  // false: a subscriber is full, while nothing may be dropped
  bool SendPatiently(std::chrono::milliseconds patience);  // false: a subscriber is stuck

  zmq::socket_t socket_;
  std::string endpoint_;
  std::string topic_, payload_;
  bool subscribed_ = false;
  std::chrono::steady_clock::time_point stuck_until_{};
};

}  // namespace xst::zeromq
