// Publishes outputs: two frames, topic "NAME/" and one record (specification stream.md section 4);
// beside them alarms, heartbeats and snapshots where they are wanted.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>
#include <zmq.hpp>

#include "sdk/stream/alarms.h"
#include "sdk/stream/source.h"
#include "sdk/zmq/snapshot_server.h"

namespace xst::zeromq {

class CurveServer;

struct PubOptions {
  enum class Encoding : uint8_t { json, flatbuffer };
  std::string endpoint = "tcp://127.0.0.1:9872";
  Encoding encoding = Encoding::json;
  bool times = false;      // JSON: also t_receive and t_publish
  std::string snapshot;    // where a SnapshotServer binds; empty: none
  double heartbeat_s = 0;  // seconds between records of topic "_xstd/"; 0: none
  bool operator==(const PubOptions&) const = default;
};

// A subscriber that does not keep up loses messages at its own high-water mark and sees it in
// `seq`. Only a stream that loses nothing on its way in (on_full: block) waits for readers that are
// behind, and only for those that do read: one that took nothing for the stream's patience (100 ms
// at most where outputs are live) is not waited for again within the next second, and twice as long
// each time, up to a minute. libzmq learns of what a reader took in portions of half a high-water
// mark (500 outputs), so at 100 ms one of fewer than 5000 outputs a second is mistaken for one that
// does not read. Little waits here for a reader, 1000 outputs, for they die with the process; what
// the kernel has, 128 KiB more, it still delivers.
class PubSink : public stream::Sink {
 public:
  // Binds. `curve` (null: none) must outlive the sink. Throws Error: address not allowed, or in
  // use.
  PubSink(zmq::context_t& context, const PubOptions& options, const CurveServer* curve = nullptr);
  ~PubSink() override;

  void Write(const stream::Stream& stream, const stream::OutputHead& head, std::span<const float> y,
             std::span<const float> x) override;
  void Idle() override;
  void Forget(const stream::Stream& stream) override { last_.erase(&stream); }

  // An alarm that changed, as its own record of topic "alarm/NAME/". Same thread as Write.
  void WriteAlarm(const stream::Stream& stream, const stream::Alarm& alarm,
                  const stream::OutputHead& head, float value);

  // The last heartbeat, if there are any. Once Write is no longer running.
  void Bye();

  const std::string& endpoint() const { return endpoint_; }
  std::string snapshot_endpoint() const { return snapshot_ ? snapshot_->endpoint() : ""; }
  // Whether someone has subscribed so far. Same thread as Write, or while that is not running.
  bool PollSubscribed();

 private:
  using Clock = std::chrono::steady_clock;

  // The last record of a stream, and of each of its alarms.
  struct Last {
    stream::OutputHead head;
    int64_t t_receive_ns = 0, t_publish_ns = 0;
    std::vector<float> y, x;
    std::map<const stream::Alarm*, std::string> alarms;
    Clock::time_point names_due{};
  };

  void Encode(const stream::Stream& stream, const Last& last, bool names, std::string* out) const;
  void Answer(std::string_view prefix, const SnapshotServer::Add& add) const;
  void SendHeartbeat(bool bye);
  void Publish(const stream::Stream& stream, uint32_t quality);  // topic_ and payload_
  bool Send();  // false: a subscriber is full, while nothing may be dropped
  bool SendPatiently(std::chrono::milliseconds patience);  // false: a subscriber is stuck

  const PubOptions options_;
  zmq::socket_t socket_;
  std::string endpoint_;
  std::unique_ptr<SnapshotServer> snapshot_;
  std::map<const stream::Stream*, Last> last_;
  std::string topic_, payload_;
  bool subscribed_ = false;
  Clock::time_point idle_due_{}, heartbeat_due_{};
  Clock::time_point stuck_until_{};
  Clock::duration stuck_for_{};
};

}  // namespace xst::zeromq
