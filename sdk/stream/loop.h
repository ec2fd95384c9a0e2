// The two threads every process of streams has: one that steps, one that hands outputs to sinks.
#pragma once

#include <atomic>
#include <thread>
#include <vector>

#include "sdk/stream/source.h"
#include "sdk/stream/stream.h"

namespace xst::stream {

// The step thread: takes turns among the streams, a step at a time. It pops rings, steps, pushes
// rings and sleeps on the doorbell; it never touches a socket or wakes another thread.
class Loop {
 public:
  // The streams must outlive the loop.
  explicit Loop(std::vector<Stream*> streams);
  ~Loop();  // stops
  void Start();
  void Stop();  // samples that still wait stay in their rings

 private:
  void Run() noexcept;

  std::vector<Stream*> streams_;
  Doorbell bell_;
  std::atomic<bool> stop_{false};
  std::thread thread_;
};

// The output thread: polls the rings out, for the step must not wake it.
class Publisher {
 public:
  // Streams and sinks must outlive the publisher. Every sink gets every output, in this order.
  Publisher(std::vector<Stream*> streams, std::vector<Sink*> sinks);
  ~Publisher();  // stops
  void Start();
  void Stop();  // after handing over what is in the rings

 private:
  void Run();
  bool Drain(Stream* stream);

  std::vector<Stream*> streams_;
  std::vector<Sink*> sinks_;
  std::vector<float> y_, x_;
  std::atomic<bool> stop_{false};
  std::thread thread_;
};

}  // namespace xst::stream
