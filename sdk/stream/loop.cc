#include "sdk/stream/loop.h"

#include <pthread.h>

#include <algorithm>
#include <chrono>
#include <exception>
#include <set>
#include <utility>

namespace xst::stream {

Loop::Loop(std::vector<Stream*> streams, ThreadOptions options) : options_(std::move(options)) {
  SetStreams(std::move(streams));
}

Loop::~Loop() {
  Stop();
  SetStreams({});
}

// The bell of a stream that stays is not touched: its source may be ringing it.
void Loop::SetStreams(std::vector<Stream*> streams) {
  const std::set<Stream*> before(streams_.begin(), streams_.end());
  const std::set<Stream*> after(streams.begin(), streams.end());
  for (Stream* s : before) {
    if (!after.contains(s)) s->SetDoorbell(nullptr);
  }
  for (Stream* s : after) {
    if (!before.contains(s)) s->SetDoorbell(&bell_);
  }
  streams_ = std::move(streams);
}

void Loop::Arrange() {
  alone_.clear();
  groups_.clear();
  for (Stream* s : streams_) {
    Batch* const batch = s->stepper().batch();
    const auto group = std::find_if(groups_.begin(), groups_.end(),
                                    [&](const Group& g) { return g.batch == batch; });
    if (!batch) {
      alone_.push_back(s);
    } else if (group == groups_.end()) {
      groups_.push_back({batch, {s}, {}});
    } else {
      group->streams.push_back(s);
    }
  }
  for (Group& g : groups_) g.waiting.reserve(g.streams.size());
}

void Loop::Start() {
  stop_ = false;
  Arrange();
  thread_ = std::thread([this] {
    pthread_setname_np(pthread_self(), "xst-step");
    Run();
  });
  try {
    Apply(options_, thread_.native_handle());
  } catch (...) {
    Stop();
    throw;
  }
}

void Loop::Stop() {
  if (!thread_.joinable()) return;
  stop_ = true;
  bell_.Ring();
  thread_.join();
}

// The step thread wakes nobody, so that it is looked at.
void Loop::Pause() {
  if (!thread_.joinable()) return;
  const uint32_t pause = pauses_.load(std::memory_order_relaxed) + 1;
  pauses_.store(pause, std::memory_order_release);
  bell_.Ring();
  while (heard_.load(std::memory_order_acquire) != pause) {
    std::this_thread::sleep_for(std::chrono::microseconds(50));
  }
}

void Loop::Resume() {
  if (!thread_.joinable()) return;
  Arrange();
  pauses_.fetch_add(1, std::memory_order_release);
  bell_.Ring();
}

bool Loop::TurnOf(Group* group) noexcept {
  bool worked = false;
  group->waiting.clear();
  for (Stream* s : group->streams) {
    const Stream::Work work = s->TakeWork();
    worked |= work != Stream::Work::none;
    if (work == Stream::Work::step) group->waiting.push_back(s);
  }
  if (group->waiting.size() >= group->batch->least()) {
    Stream::StepTogether(*group->batch, group->waiting);
  } else {
    for (Stream* s : group->waiting) s->StepAlone();
  }
  return worked;
}

bool Loop::Turn() noexcept {
  bool worked = false;
  for (Stream* s : alone_) worked |= s->Turn();
  for (Group& g : groups_) worked |= TurnOf(&g);
  return worked;
}

void Loop::Run() noexcept {
  for (;;) {
    const int heard = bell_.Heard();
    if (stop_.load(std::memory_order_acquire)) return;
    const uint32_t pauses = pauses_.load(std::memory_order_acquire);
    const bool paused = pauses % 2 != 0;
    if (paused) heard_.store(pauses, std::memory_order_release);
    if (paused || !Turn()) bell_.Wait(heard);
  }
}

void Join(const std::shared_ptr<Batch>& batch, std::span<Stream* const> streams) {
  for (Stream* s : streams) {
    if (auto stepper = batch->MakeStepper()) s->Replace(std::move(stepper));
  }
}

Publisher::Publisher(std::vector<Stream*> streams, std::vector<Sink*> sinks)
    : sinks_(std::move(sinks)) {
  SetStreams(std::move(streams));
}

void Publisher::SetStreams(std::vector<Stream*> streams) {
  ++wanted_;
  const std::lock_guard lock(mutex_);
  --wanted_;
  for (const Stream* s : streams_) {
    if (std::find(streams.begin(), streams.end(), s) != streams.end()) continue;
    for (Sink* sink : sinks_) sink->Forget(*s);
  }
  streams_ = std::move(streams);
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
    for (Sink* sink : sinks_) {
      try {
        sink->Write(*stream, head, y, x);
      } catch (const std::exception&) {
        errors_.fetch_add(1, std::memory_order_relaxed);
      }
    }
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
    while (wanted_ > 0) std::this_thread::sleep_for(kShortest);  // it may never get it otherwise
    {
      const std::lock_guard lock(mutex_);
      for (Stream* s : streams_) any |= Drain(s);
    }
    if (any) {
      pause = kShortest;
    } else if (last) {
      return;
    } else {
      {
        const std::lock_guard lock(mutex_);
        for (Sink* sink : sinks_) {
          try {
            sink->Idle();
          } catch (const std::exception&) {
            errors_.fetch_add(1, std::memory_order_relaxed);
          }
        }
      }
      std::this_thread::sleep_for(pause);
      pause = std::min(2 * pause, kLongest);
    }
  }
}

}  // namespace xst::stream
