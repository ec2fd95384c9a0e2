// Everything that leaves the daemon over ZeroMQ: records, alarms, heartbeats, snapshots.
#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <vector>
#include <zmq.hpp>

#include "apps/xstd/config.h"
#include "apps/xstd/feed.h"
#include "sdk/stream/alarms.h"
#include "sdk/zmq/pub_sink.h"
#include "sdk/zmq/zap.h"

namespace xstd {

// Throws xst::Error for an alarm on an output that the stream does not have.
std::shared_ptr<xst::stream::Alarms> MakeAlarms(const StreamConfig& config,
                                                const xst::stream::Stream& stream);

class Outputs {
 public:
  // Binds. Throws xst::Error.
  Outputs(zmq::context_t& context, const DaemonConfig& config,
          const xst::zeromq::CurveServer* curve);

  // Evaluates the alarms of these feeds from now on; those of a feed that had them go on, also
  // where its stream was remade (the former is still there). Throws
  // xst::Error and changes nothing.
  void SetAlarms(const std::vector<std::unique_ptr<Feed>>& feeds);

  xst::zeromq::PubSink& pub() { return pub_; }
  std::vector<xst::stream::Sink*> sinks();
  std::string Ready() const;  // "publish=ENDPOINT" and, if there is one, " snapshot=ENDPOINT"

  // Of the streams that have any, for who shows them; same thread as SetAlarms.
  const std::vector<std::shared_ptr<xst::stream::Alarms>>& alarms() const { return alarms_; }

 private:
  xst::zeromq::PubSink pub_;
  std::vector<std::shared_ptr<xst::stream::Alarms>> alarms_;
  xst::stream::AlarmSink alarm_sink_;
};

// The keys of the configuration at work; null without.
std::unique_ptr<xst::zeromq::CurveServer> MakeCurve(zmq::context_t& context,
                                                    const CurveConfig& config);

// Reads the key files of the configuration. Throws xst::Error.
void CheckKeys(const DaemonConfig& config);

// Logs refused clients, one line a minute at most.
class RefusalLog {
 public:
  void Report(const xst::zeromq::CurveServer* curve);

 private:
  uint64_t reported_ = 0;
  std::chrono::steady_clock::time_point last_{};
};

}  // namespace xstd
