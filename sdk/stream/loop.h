// The two threads every process of streams has: one that steps, one that hands outputs to sinks.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <thread>
#include <vector>

#include "sdk/stream/batch.h"
#include "sdk/stream/realtime.h"
#include "sdk/stream/source.h"
#include "sdk/stream/stream.h"

namespace xst::stream {

// The step thread: takes turns among the streams, at most one step of each a turn, so that none
// waits for more than one step of every other. Those of one Batch with enough samples waiting step
// together. It pops rings, steps, pushes rings and sleeps on the doorbell; it never touches a
// socket or wakes another thread.
class Loop {
 public:
  // The streams must outlive the loop.
  explicit Loop(std::vector<Stream*> streams, ThreadOptions options = {});
  ~Loop();  // stops
  // Throws Error if the options are refused.
  void Start();
  bool started() const { return thread_.joinable(); }
  void Stop();  // samples that still wait stay in their rings
  // Keeps the thread between two turns: samples wait in their rings meanwhile.
  void Pause();
  void Resume();
  // While it is stopped or paused. A stream that comes or goes has no input side at that time.
  void SetStreams(std::vector<Stream*> streams);

  // What its thread does, for who has none: Arrange() finds the batches, Turn() gives every stream
  // its turn. False: nothing to do.
  void Arrange();
  bool Turn() noexcept;

 private:
  struct Group {
    Batch* batch;
    std::vector<Stream*> streams, waiting;
  };
  void Run() noexcept;
  static bool TurnOf(Group* group) noexcept;

  const ThreadOptions options_;
  std::vector<Stream*> streams_;
  std::vector<Stream*> alone_;
  std::vector<Group> groups_;
  Doorbell bell_;
  std::atomic<bool> stop_{false};
  std::atomic<uint32_t> pauses_{0}, heard_{0};  // odd: paused; what the thread has seen of it
  std::thread thread_;
};

// Puts streams of one model that are not in one batch yet into `batch`, their states with them,
// while nothing steps them. Throws Error; a stream that was not moved goes on where it was.
void Join(const std::shared_ptr<Batch>& batch, std::span<Stream* const> streams);

// The output thread: polls the rings out, for the step must not wake it.
class Publisher {
 public:
  // Streams and sinks must outlive the publisher. Every sink gets every output, in this order.
  Publisher(std::vector<Stream*> streams, std::vector<Sink*> sinks);
  ~Publisher();  // stops
  void Start();
  void Stop();                                    // after handing over what is in the rings
  void SetStreams(std::vector<Stream*> streams);  // any time

  // Outputs that a sink threw an exception at, which it then lacks.
  uint64_t errors() const { return errors_.load(std::memory_order_relaxed); }

 private:
  void Run();
  bool Drain(Stream* stream);

  std::atomic<int> wanted_{0};  // by SetStreams
  std::mutex mutex_;            // of streams_, y_ and x_
  std::vector<Stream*> streams_;
  std::vector<Sink*> sinks_;
  std::vector<float> y_, x_;
  std::atomic<uint64_t> errors_{0};
  std::atomic<bool> stop_{false};
  std::thread thread_;
};

}  // namespace xst::stream
