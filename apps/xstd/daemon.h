// Models, streams, sources and the publisher of one configuration, from start to clean stop.
#pragma once

#include <csignal>
#include <memory>
#include <string>
#include <vector>

#include "apps/xstd/config.h"
#include "apps/xstd/feed.h"
#include "apps/xstd/outputs.h"
#include "apps/xstd/state_dir.h"
#include "sdk/stream/loop.h"

namespace xstd {

struct DaemonOptions {
  double snapshot_every_s = 10;
  double wait_subscriber_s = 0;  // sources start with the first subscriber, or after so long
  std::string summary;           // JSON file written at the end; empty: none
};

// Opens every model and recording of the configuration, binds nothing and writes nothing. Throws
// xst::Error.
void CheckModels(const DaemonConfig& config);

class Daemon {
 public:
  // Opens models, restores streams, binds sockets. Throws xst::Error.
  Daemon(const DaemonConfig& config, const DaemonOptions& options);
  ~Daemon();

  // Runs until every source has ended or one of `signals` (blocked in all threads) arrives; then
  // stops the sources, steps and publishes what they gave, and keeps the final state. Returns the
  // exit status: 1 if a source failed.
  int Run(const sigset_t& signals);

 private:
  void MakeLoops(const std::vector<xst::stream::Stream*>& streams);
  bool WaitForSubscriber(const sigset_t& signals);
  void Tick();
  void Drain();
  void WriteSummary() const;
  bool AllEnded() const;

  const DaemonConfig config_;
  const DaemonOptions options_;
  zmq::context_t context_;
  std::unique_ptr<xst::zeromq::CurveServer> curve_;  // outlives all sockets
  std::unique_ptr<StateDir> state_;
  std::vector<std::unique_ptr<Feed>> feeds_;
  std::unique_ptr<Outputs> outputs_;
  RefusalLog refusals_;
  std::vector<std::unique_ptr<xst::stream::Loop>> loops_;
  std::unique_ptr<xst::stream::Publisher> publisher_;
};

}  // namespace xstd
