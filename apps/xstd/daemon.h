// Models, streams, sources and the publisher of one configuration, from start to clean stop.
#pragma once

#include <csignal>
#include <future>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "apps/xstd/config.h"
#include "apps/xstd/feed.h"
#include "apps/xstd/models.h"
#include "apps/xstd/operations.h"
#include "apps/xstd/outputs.h"
#include "apps/xstd/state_dir.h"
#include "sdk/stream/loop.h"

namespace xstd {

struct DaemonOptions {
  double snapshot_every_s = 10;
  // Sources start with the first subscriber, or after so long. Absent: as lossless streams need it.
  std::optional<double> wait_subscriber_s;
  std::string summary;      // JSON file written at the end; empty: none
  std::string config_path;  // read again at a reload; empty: there is none
};

// Opens every model and recording of the configuration, binds nothing and writes nothing. Throws
// xst::Error.
void CheckModels(const DaemonConfig& config);

class Daemon {
 public:
  // Opens models, restores streams, binds sockets. Throws xst::Error.
  Daemon(const DaemonConfig& config, const DaemonOptions& options);
  ~Daemon();

  // Runs until every source has ended or one of `signals` (blocked in all threads) arrives, where
  // SIGHUP asks for a reload; then stops the sources, steps and publishes what they gave, and keeps
  // the final state. Returns the exit status: 1 if a source failed.
  int Run(const sigset_t& signals);

  // Reads the configuration again and goes over to it (reload.cc). For the control thread.
  void RequestReload();
  uint64_t reloads() const { return reloads_; }
  uint64_t reload_errors() const { return reload_errors_; }

 private:
  struct Prepared {
    DaemonConfig config;
    ModelSet models;
  };
  struct Change;  // of one stream

  // Reload.
  void PollReload();
  void ReloadFailed(const char* why);
  void Reloading(bool begins);  // called at both ends of a reload
  std::vector<Change> Changes(const Prepared& next);
  void Apply(Prepared next);
  void Leave(const std::vector<Change>& changes);
  double Switch(std::vector<Change>* changes, const ModelSet& models);
  void Enter(Change* change);

  Feed* Find(const std::string& name) const;
  std::vector<xst::stream::Stream*> Streams() const;
  void MakeLoops();  // for streams that have none yet
  void JoinBatches(const ModelSet& models);
  // SIGTERM and the like: false; SIGHUP is taken here.
  bool Wait(const sigset_t& signals);
  bool WaitForSubscriber(const sigset_t& signals);
  void Tick();
  void Describe(DaemonStatus* status) const;
  void Drain();
  void WriteSummary() const;
  bool AllEnded() const;

  DaemonConfig config_;
  const DaemonOptions options_;
  zmq::context_t context_;
  Operations operations_;
  std::unique_ptr<xst::zeromq::CurveServer> curve_;  // outlives all sockets
  std::unique_ptr<StateDir> state_;
  ModelSet models_;
  std::vector<std::unique_ptr<Feed>> feeds_;
  std::unique_ptr<Outputs> outputs_;
  RefusalLog refusals_;
  // Of all that only step, and of each that forecasts.
  std::unique_ptr<xst::stream::Loop> loop_;
  std::map<xst::stream::Stream*, std::unique_ptr<xst::stream::Loop>> forecast_loops_;
  std::unique_ptr<xst::stream::Publisher> publisher_;
  uint64_t reloads_ = 0, reload_errors_ = 0, reported_sink_errors_ = 0;
  bool reload_again_ = false;        // asked for during one
  std::future<Prepared> preparing_;  // last: its thread looks at models_
};

}  // namespace xstd
