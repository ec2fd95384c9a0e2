#include "sdk/stream/loop.h"

#include <pthread.h>

#include <algorithm>
#include <chrono>
#include <utility>

namespace xst::stream {

Loop::Loop(std::vector<Stream*> streams) : streams_(std::move(streams)) {
  for (Stream* s : streams_) s->SetDoorbell(&bell_);
}

Loop::~Loop() {
  Stop();
  for (Stream* s : streams_) s->SetDoorbell(nullptr);
}

void Loop::Start() {
  stop_ = false;
  thread_ = std::thread([this] {
    pthread_setname_np(pthread_self(), "xst-step");
    Run();
  });
}

void Loop::Stop() {
  if (!thread_.joinable()) return;
  stop_ = true;
  bell_.Ring();
  thread_.join();
}

void Loop::Run() noexcept {
  while (!stop_.load(std::memory_order_acquire)) {
    const int heard = bell_.Heard();
    bool worked = false;
    for (Stream* s : streams_) worked |= s->Turn();
    if (!worked) bell_.Wait(heard);
  }
}

Publisher::Publisher(std::vector<Stream*> streams, std::vector<Sink*> sinks)
    : streams_(std::move(streams)), sinks_(std::move(sinks)) {
  for (const Stream* s : streams_) {
    y_.resize(std::max<size_t>(y_.size(), s->info().output_width));
    x_.resize(std::max<size_t>(x_.size(), s->info().input_width));
  }
}

Publisher::~Publisher() { Stop(); }

void Publisher::Start() {
  stop_ = false;
  thread_ = std::thread([this] {
    pthread_setname_np(pthread_self(), "xst-publish");
    Run();
  });
}

void Publisher::Stop() {
  if (!thread_.joinable()) return;
  stop_ = true;
  thread_.join();
}

bool Publisher::Drain(Stream* stream) {
  constexpr int kBatch = 64;  // then the next stream has its turn
  const std::span y(y_.data(), stream->info().output_width);
  const std::span x(x_.data(), stream->info().input_width);
  OutputHead head;
  int n = 0;
  while (n < kBatch && stream->Take(&head, y, x)) {
    for (Sink* sink : sinks_) sink->Write(*stream, head, y, x);
    stream->MarkPublished();
    ++n;
  }
  return n > 0;
}

void Publisher::Run() {
  using std::chrono::microseconds;
  constexpr microseconds kShortest(50), kLongest(800);
  microseconds pause = kShortest;
  for (;;) {
    const bool last = stop_.load(std::memory_order_acquire);
    bool any = false;
    for (Stream* s : streams_) any |= Drain(s);
    if (any) {
      pause = kShortest;
    } else if (last) {
      return;
    } else {
      for (Sink* sink : sinks_) sink->Idle();
      std::this_thread::sleep_for(pause);
      pause = std::min(2 * pause, kLongest);
    }
  }
}

}  // namespace xst::stream
