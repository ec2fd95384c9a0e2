// One configured stream at work: its source and that one's thread, its checkpoints, its losses.
//
// A stream is lossless if it has a state_dir, blocks when full and its source can give its samples
// again: a recording, or an acked source (its input log). After a kill at any time it then
// publishes again everything that a subscriber may have missed, with the same (epoch, seq):
// - before the first output a checkpoint is on disk, so that the epoch is (KeepFirst);
// - what was published may still lie in a queue of ours and die with it, so a checkpoint is written
//   only kFlush after the last output before it went to the socket. A restart goes on from it or
//   from an older one, hence from before everything published within kFlush of the kill;
// - the last one, of a clean stop, waits as long, with the sockets open;
// - after a start, publishing waits for the subscribers to come back (Daemon::WaitForSubscriber).
// So a subscriber misses nothing that takes, within kFlush, what may wait for it in xstd: PubSink's
// high-water mark of 1000 outputs, and is back within 5 s of a start. One that is stopped or slower
// misses what dies in them, or what was dropped for it, and sees that in `seq`.
#pragma once

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <zmq.hpp>

#include "apps/xstd/config.h"
#include "apps/xstd/input_log.h"
#include "apps/xstd/state_dir.h"
#include "sdk/model.h"
#include "sdk/stream/source.h"
#include "sdk/stream/stream.h"
#include "sdk/zmq/zap.h"

namespace xstd {

// Used by the control thread alone.
class Feed {
 public:
  // Restores the stream from `state` (null: nothing is kept), which must outlive the feed, or
  // leaves that to TakeOver. Throws xst::Error.
  Feed(const StreamConfig& config, std::shared_ptr<const xst::Model> model, StateDir* state,
       bool restore = true);
  // Goes on where another feed stood: with its state if the architecture is the same, else afresh
  // behind its `history`. Throws xst::Error.
  // `same_place`: its log goes on too.
  void TakeOver(const xst::stream::Checkpoint& checkpoint, const xst::stream::History& history,
                bool same_place);
  // Goes on with another model, stepped by `stepper`, while nothing steps the stream: with its
  // state if the architecture is the same (true), else as on_reload says. Throws xst::Error and
  // changes nothing.
  bool Swap(const StreamConfig& config, std::shared_ptr<const xst::Model> model,
            std::unique_ptr<xst::stream::Stepper> stepper);

  const StreamConfig& config() const { return config_; }
  const std::string& name() const { return config_.name; }
  const std::shared_ptr<const xst::Model>& model() const { return model_; }
  xst::stream::Stream& stream() { return *stream_; }
  const xst::stream::Stream& stream() const { return *stream_; }

  // Binds or connects. A bound source already takes samples: nothing may fail behind it. Throws
  // xst::Error.
  void OpenSource(zmq::context_t* context, const xst::zeromq::CurveServer* curve) {
    OpenSource(context, curve, config_.source);
  }
  // `source` instead of its own.
  void OpenSource(zmq::context_t* context, const xst::zeromq::CurveServer* curve,
                  const SourceConfig& source);
  void CloseSource() { source_.reset(); }  // after Join
  bool has_source() const { return source_ != nullptr; }
  std::string endpoint() const { return source_ ? source_->endpoint() : std::string(); }
  xst::stream::SourceCounts source_counts() const {
    return source_ ? source_->counts() : xst::stream::SourceCounts{};
  }
  void Start();  // the source, if there is one, on a thread of its own
  void RequestStop() { thread_.request_stop(); }
  void Join(const std::function<void()>& tick);  // calls `tick` all along
  bool ended() const { return ended_; }          // the source has
  bool failed() const { return failed_; }        // the source, or the drain

  // Logs what was lost since the last report, at most every few seconds.
  void ReportAtTimes();
  void Report();

  bool lossless() const { return lossless_; }
  // The first checkpoint of a fresh lossless stream; its loop runs, its source does not yet. Throws
  // xst::Error.
  void KeepFirst();
  // Requests, fetches and writes the stream's checkpoint when its time has come. A lossless stream
  // keeps more of them soon after its start, so that it gets on even if it is killed again and
  // again.
  void Keep(double every_s);
  // Steps and publishes what the source gave, while its loop still runs, until `end` at the latest;
  // calls `tick` all along.
  void Drain(std::chrono::steady_clock::time_point end, const std::function<void()>& tick);
  // The last checkpoint, of a drained stream; waits for it until `end`.
  void KeepLast(std::chrono::steady_clock::time_point end);
  // The same for who takes over; null if there was none by then.
  xst::stream::Checkpoint* LastCheckpoint(std::chrono::steady_clock::time_point end);
  // Lets the next Keep() write one, whatever the time.
  void KeepSoon();
  // What is on disk stays as it is: it could not be taken over.
  void KeepNothing();
  bool keeps_nothing() const { return keeps_nothing_; }

  uint64_t snapshots() const { return snapshots_; }
  uint64_t snapshot_errors() const { return snapshot_errors_; }
  uint64_t log_errors() const { return log_ ? log_->errors() : 0; }

  static constexpr std::chrono::seconds kFlush{2};
  static constexpr std::chrono::seconds kLongestDrain{60};  // xstd.service waits longer

 private:
  using Time = std::chrono::steady_clock::time_point;

  void Restore();
  // Of an acked source; null: fresh.
  void OpenLog(const xst::stream::Checkpoint* from);
  // From a checkpoint, of whatever weights; false: of another architecture, and may not.
  bool GoOn(const xst::stream::Checkpoint& checkpoint, const xst::stream::History& history,
            bool may_start_afresh);
  xst::stream::Checkpoint* AwaitCheckpoint(Time end);  // null if there was none by then
  void Keep(xst::stream::Checkpoint* checkpoint);      // throws
  void ReportSource(bool* any);
  bool Write(xst::stream::Checkpoint* checkpoint);

  StreamConfig config_;
  std::shared_ptr<const xst::Model> model_;
  StateDir* state_;
  bool lossless_;
  std::unique_ptr<InputLog> log_;
  std::unique_ptr<xst::stream::Stream> stream_;
  std::unique_ptr<xst::stream::Source> source_;
  std::atomic<bool> ended_{false}, failed_{false};

  Time last_report_{}, last_request_{}, started_{}, drained_{};
  std::optional<Time> flushed_;  // when the checkpoint at hand, before flushed_seq_, may be written
  uint64_t flushed_seq_ = 0;
  bool keeps_nothing_ = false;
  xst::stream::StreamCounts reported_;
  xst::stream::SourceCounts reported_source_;
  bool reported_stale_ = false;
  bool requested_ = false;
  uint64_t kept_samples_ = 0, kept_position_ = 0;
  bool fresh_ = true;  // no checkpoint was found
  uint64_t snapshots_ = 0, snapshot_errors_ = 0, reported_errors_ = 0;
  uint64_t reported_log_errors_ = 0;
  std::string snapshot_error_;  // the last

  std::jthread thread_;
};

// The stream that a feed steps.
std::unique_ptr<xst::stream::Stream> MakeStream(const StreamConfig& config,
                                                std::shared_ptr<const xst::Model> model);

}  // namespace xstd
