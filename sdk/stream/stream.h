// One stream: ring in, clock, stepper, ring out. Four parties use it, each from one thread at a
// time: the input side (a Source), the step (Loop), the output side (Publisher) and control.
#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <stop_token>
#include <string>
#include <vector>

#include "formats/checkpoint.h"
#include "sdk/model.h"
#include "sdk/stream/clock.h"
#include "sdk/stream/histogram.h"
#include "sdk/stream/history.h"
#include "sdk/stream/intake.h"
#include "sdk/stream/ring.h"
#include "sdk/stream/sample.h"
#include "sdk/stream/stepper.h"

namespace xst::stream {

// What the step thread sleeps on when there is nothing to do. Others ring; it never does.
class Doorbell {
 public:
  void Ring() noexcept {
    rings_.fetch_add(1, std::memory_order_seq_cst);
    rings_.notify_one();
  }
  // Read before looking for work, then waited on if there was none: no ring is missed.
  int Heard() const noexcept { return rings_.load(std::memory_order_seq_cst); }
  void Wait(int heard) noexcept { rings_.wait(heard, std::memory_order_seq_cst); }

 private:
  std::atomic<int> rings_{0};
};

enum class OnFull : uint8_t { block, drop_oldest };

struct StreamOptions {
  std::string name;
  uint32_t queue = 1024;  // ring in, samples
  OnFull on_full = OnFull::block;
  bool deadline = true;  // mark outputs later than one sample period (false: played as fast as it
                         // goes)
  // With on_full block: how long the output waits for a reader that takes nothing; where it is live
  // (deadline, and not historical) 100 ms at most.
  std::chrono::milliseconds patience{100};
  uint32_t replay = 0;        // inputs kept for Renew()
  uint32_t order_window = 0;  // samples that may overtake another one (order_window.h)
  Resample resample = Resample::none;
  double stale_s = 0;  // so long without a sample, and the stream is stale; 0: never
};

using formats::Checkpoint;

// Counts since construction. Read from any thread, each value on its own.
struct StreamCounts {
  uint64_t samples = 0;     // taken from the ring in, duplicates included
  uint64_t outputs = 0;     // put into the ring out
  uint64_t published = 0;   // taken out and handed to the sinks
  uint64_t dropped = 0;     // on_full: drop_oldest
  uint64_t rejected = 0;    // malformed messages
  uint64_t duplicates = 0;  // dropped
  uint64_t gaps = 0, missing = 0, time_back = 0;
  uint64_t held = 0;  // outputs with bit kHeld
  uint64_t late = 0;  // outputs with bit kLate: deadlines missed
  uint64_t resets = 0;
  uint64_t errors = 0;                   // steps that the model refused
  uint64_t reordered = 0, too_late = 0;  // put in order; dropped, for their place was passed
  uint64_t stale = 0;                    // times that the stream was stale and went on or ended
};

class Stream {
 public:
  // `epoch`: random, below 2^53. Throws Error as MakeStepper.
  Stream(std::shared_ptr<const Model> model, StreamOptions options, uint64_t epoch);

  const StreamOptions& options() const { return options_; }
  // Of the model it was made with: of a later one widths, names, units and rate are the same.
  const ModelInfo& info() const { return info_; }
  // Names of the outputs and inputs; a model without a wrapper gets y0, y1, … and x0, x1, …
  const std::vector<std::string>& y_names() const { return y_names_; }
  const std::vector<std::string>& x_names() const { return x_names_; }

  // --- control, before the threads start
  void SetDoorbell(Doorbell* bell) { bell_ = bell; }
  // Throws Error and changes nothing if the checkpoint is not one of this model.
  void Restore(const Checkpoint& checkpoint, const LoadOptions& options = {});
  // Goes on where the checkpoint of another model stands, with a fresh state and the next epoch;
  // the state has seen `history` before if its rows are of this width.
  void RestoreAfresh(const Checkpoint& checkpoint, const History& history = {0, 0});
  // Where a resumable source starts: the position behind the last stepped sample, 0 at first.
  uint64_t start_position() const { return start_position_; }

  // --- control, while nothing steps the stream; the other sides may go on
  const Stepper& stepper() const { return *stepper_; }
  const History& history() const { return history_; }
  // Whether `other` can step these samples and outputs: widths, names, units and rate.
  bool Fits(const ModelInfo& other) const;
  // Goes on with a stepper that Fits: Replace hands the state over (throws Error and changes
  // nothing if the architecture is another), Renew starts a fresh one with the next epoch that has
  // seen the last options().replay inputs.
  void Replace(std::unique_ptr<Stepper> stepper, const LoadOptions& options = {});
  void Renew(std::unique_ptr<Stepper> stepper);

  // --- input side
  // x: input_width values. With on_full block, waits for room until `stop` is requested; false:
  // stopped, the sample was not taken. A time that is not finite counts as none.
  bool Offer(SampleHead head, std::span<const float> x, const std::stop_token& stop);
  // Counts a message that is no sample.
  void Reject(std::string_view why);
  // Around a source's run. What waits for its predecessors is let go at the end, but for a source
  // that was stopped and will give it again.
  void SourceStarts() noexcept;
  void SourceEnds(bool stopped);

  // --- step side: no allocation, no lock, no system call, wakes nobody
  // Takes at most one step's work: `none` if there is nothing to do (no sample, or no room for its
  // output), `done` if it needs no step, `step` if one of the three below must follow.
  enum class Work : uint8_t { none, done, step };
  Work TakeWork() noexcept;
  void StepAlone() noexcept;
  // The same for all of `streams`, of one batch, at once.
  static void StepTogether(Batch& batch, std::span<Stream* const> streams) noexcept;
  // TakeWork and StepAlone; false: nothing to do.
  bool Turn() noexcept;

  // --- output side
  bool Take(OutputHead* head, std::span<float> y, std::span<float> x) noexcept;
  // After the sink has it: a checkpoint is handed out only behind what was published.
  void MarkPublished() noexcept;

  // --- control
  // Asks the step thread for a checkpoint at the next sample boundary. FetchCheckpoint() returns it
  // once it is there and all outputs before it are published, else null; it stays valid until the
  // next request.
  void RequestCheckpoint() noexcept;
  Checkpoint* FetchCheckpoint() noexcept;
  // Whether one is asked for and not fetched; a request that failed is not.
  bool checkpoint_pending() const noexcept {
    return request_.load(std::memory_order_acquire) != Request::none;
  }

  size_t queued() const noexcept { return in_.size(); }  // samples in the ring in
  bool idle() const noexcept;                            // every offered sample is stepped
  bool stepping() const noexcept;                        // in the middle of a step
  bool published() const noexcept;                       // every output was handed to the sink
  bool stale() const noexcept;                           // no sample within stale_s
  StreamCounts counts() const noexcept;
  std::string last_reject() const;
  const Histogram& step_time() const { return step_time_; }
  const Histogram& latency() const { return latency_; }

 private:
  enum class Request : uint8_t { none, asked, ready };

  // A step that is due.
  struct Due {
    std::span<const float> x;
    double t = 0, gap_s = 0;
    uint32_t quality = 0;
    bool last = false;  // of its sample
  };

  bool Push(const SampleHead& head, std::span<const float> x, const std::stop_token& stop);

  void SaveCheckpoint() noexcept;
  void FinishSample() noexcept;
  void Finish(Status status, bool answers, std::span<const float> y, int64_t begin,
              int64_t end) noexcept;
  void GoOnFrom(const Checkpoint& checkpoint);
  void Install(std::unique_ptr<Stepper> stepper);
  void Replay(const History& history);

  std::unique_ptr<Stepper> stepper_;
  const ModelInfo info_;
  const StreamOptions options_;
  std::vector<std::string> y_names_, x_names_;
  Clock clock_;
  std::unique_ptr<Intake> intake_;  // null: samples are taken as they come
  Ring<SampleHead> in_;
  Ring<OutputHead> out_;
  Doorbell* bell_ = nullptr;
  int64_t deadline_ns_ = 0;  // 0: none
  uint64_t start_position_ = 0;

  // Step side.
  SampleHead sample_;
  ClockAction action_;
  bool pending_ = false;  // sample_ is being worked on
  uint64_t held_done_ = 0;
  uint64_t epoch_ = 0, seq_ = 0, position_ = 0;
  Due due_;
  std::vector<float> x_, missing_, y_;
  History history_;

  std::vector<float> taken_;  // output side

  std::atomic<int64_t> arrival_ns_{0};  // of the last sample; 0: no source runs
  int64_t stale_ns_ = 0;                // 0: never stale

  std::atomic<bool> stepping_{false};
  std::atomic<bool> out_blocked_{false};  // the step waits for room in the ring out
  std::atomic<Request> request_{Request::none};
  Checkpoint checkpoint_;            // the step's while asked, control's while ready
  uint64_t checkpoint_outputs_ = 0;  // outputs before it

  struct Atomics {
    std::atomic<uint64_t> offered{0}, dropped{0}, rejected{0};
    std::atomic<uint64_t> samples{0}, outputs{0}, published{0};
    std::atomic<uint64_t> duplicates{0}, gaps{0}, missing{0}, time_back{0};
    std::atomic<uint64_t> held{0}, late{0}, resets{0}, errors{0}, stale{0};
  } count_;
  Histogram step_time_, latency_;
  mutable std::mutex reject_mutex_;
  std::string last_reject_;
};

// The epoch that follows `epoch`: random-looking and the same at every replay of a stream.
uint64_t NextEpoch(uint64_t epoch) noexcept;

}  // namespace xst::stream
