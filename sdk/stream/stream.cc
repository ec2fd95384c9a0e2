#include "sdk/stream/stream.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <thread>
#include <utility>

#include "sdk/stream/batch.h"

namespace xst::stream {
namespace {

constexpr auto kPoll = std::chrono::microseconds(100);
constexpr size_t kRingOut = 1024;  // outputs

ClockConfig ToClock(const ModelInfo& info) {
  ClockConfig config;
  config.rate_hz = info.rate_hz;
  if (const auto& stream = info.config.stream) {
    config.policy = stream->gap_policy;
    config.max_s = stream->gap_max_s;
    config.then = stream->gap_then;
  }
  return config;
}

std::vector<std::string> NamesOr(const std::vector<std::string>& names, char letter,
                                 uint32_t width) {
  if (names.size() == width) return names;
  std::vector<std::string> made(width);
  for (uint32_t i = 0; i < width; ++i) made[i] = letter + std::to_string(i);
  return made;
}

void Add(std::atomic<uint64_t>& counter, uint64_t n = 1) noexcept {
  counter.store(counter.load(std::memory_order_relaxed) + n, std::memory_order_release);
}

}  // namespace

uint64_t NextEpoch(uint64_t epoch) noexcept {
  uint64_t z = epoch + 0x9e3779b97f4a7c15u;  // splitmix64
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return (z ^ (z >> 31)) >> 11;
}

Stream::Stream(std::shared_ptr<const Model> model, StreamOptions options, uint64_t epoch)
    : stepper_(MakeStepper(std::move(model))),
      info_(stepper_->info()),
      options_(std::move(options)),
      y_names_(NamesOr(info().output_names, 'y', info().output_width)),
      x_names_(NamesOr(info().input_names, 'x', info().input_width)),
      clock_(ToClock(info())),
      in_(options_.queue, info().input_width),
      out_(kRingOut, info().output_width + info().input_width),
      epoch_(epoch),
      x_(info().input_width),
      missing_(info().input_width, std::numeric_limits<float>::quiet_NaN()),
      y_(info().output_width),
      history_(options_.replay, info().input_width),
      taken_(info().output_width + info().input_width) {
  if (options_.deadline && info().rate_hz > 0) {
    deadline_ns_ = static_cast<int64_t>(std::min(1e9 / info().rate_hz, 1e18));
  }
  checkpoint_.session.resize(info().snapshot_bytes);
  stale_ns_ = static_cast<int64_t>(std::min(options_.stale_s * 1e9, 1e18));
  const IntakeConfig intake{options_.order_window, options_.resample, info().rate_hz,
                            ToClock(info()).max_s};
  if (intake.resample != Resample::none && !(intake.rate_hz > 0)) {
    throw Error(Status::invalid_argument,
                "clock.resample: expected a model with a rate_hz, got one of events (rate_hz 0)");
  }
  if (intake.active()) intake_ = std::make_unique<Intake>(intake, info().input_width);
}

void Stream::Restore(const Checkpoint& checkpoint, const LoadOptions& options) {
  stepper_->Load(checkpoint.session, options);
  GoOnFrom(checkpoint);
}

void Stream::RestoreAfresh(const Checkpoint& checkpoint, const History& history) {
  GoOnFrom(checkpoint);
  epoch_ = NextEpoch(epoch_);
  Replay(history);
}

void Stream::GoOnFrom(const Checkpoint& checkpoint) {
  clock_.Restore(checkpoint.clock);
  epoch_ = checkpoint.epoch;
  seq_ = checkpoint.seq;
  position_ = start_position_ = checkpoint.position;
  if (intake_) intake_->Restore(checkpoint.clock, checkpoint.position);
}

bool Stream::Fits(const ModelInfo& other) const {
  using formats::Family;
  const ModelInfo& mine = info_;
  return (mine.config.family == Family::tirex) == (other.config.family == Family::tirex) &&
         mine.input_width == other.input_width && mine.input_names == other.input_names &&
         mine.input_units == other.input_units && mine.output_width == other.output_width &&
         mine.output_names == other.output_names && mine.output_units == other.output_units &&
         mine.rate_hz == other.rate_hz && (!intake_ || ToClock(mine).max_s == ToClock(other).max_s);
}

void Stream::Replace(std::unique_ptr<Stepper> stepper, const LoadOptions& options) {
  std::vector<std::byte> state(stepper_->info().snapshot_bytes);
  if (const Status s = stepper_->Save(state); s != Status::ok) throw Error(s, Describe(s));
  stepper->Load(state, options);
  Install(std::move(stepper));
}

void Stream::Renew(std::unique_ptr<Stepper> stepper) {
  Install(std::move(stepper));
  epoch_ = NextEpoch(epoch_);
  Add(count_.resets);
  Replay(history_);
}

void Stream::Install(std::unique_ptr<Stepper> stepper) {
  clock_.Configure(ToClock(stepper->info()));
  checkpoint_.session.resize(stepper->info().snapshot_bytes);
  stepper_ = std::move(stepper);
  // A checkpoint that was not fetched yet is of the former stepper.
  if (request_.load(std::memory_order_acquire) == Request::ready) RequestCheckpoint();
}

void Stream::Replay(const History& history) {
  if (history.width() != info_.input_width) return;
  bool answers;
  for (size_t i = 0; i < history.size(); ++i) {
    stepper_->Step(history.row(i), y_, &answers);
    if (&history != &history_) history_.Record(history.row(i));
  }
}

bool Stream::Offer(SampleHead head, std::span<const float> x, const std::stop_token& stop) {
  if (!std::isfinite(head.t)) {
    head.has_t = false;
    head.t = 0;
  }
  if (!head.has_t && head.t == 0) head.t = WallSeconds();
  if (stale_ns_ > 0) {
    if (stale()) Add(count_.stale);
    arrival_ns_.store(NowNs(), std::memory_order_relaxed);
  }
  if (!intake_) return Push(head, x, stop);
  constexpr double kMostPeriods = 0x1p52;  // whose numbers a double counts one by one
  if (intake_->needs_time() && !(head.has_t && std::abs(head.t) * info_.rate_hz < kMostPeriods)) {
    Reject("t: expected a time in seconds in a sample that is resampled, got none");
    return true;
  }
  return intake_->Take(head, x, [this, &stop](const SampleHead& h, std::span<const float> v) {
    return Push(h, v, stop);
  });
}

bool Stream::Push(const SampleHead& head, std::span<const float> x, const std::stop_token& stop) {
  while (!in_.Push(head, x)) {
    if (options_.on_full == OnFull::drop_oldest) {
      if (in_.DropOldest()) {
        Add(count_.dropped);
      } else {
        std::this_thread::yield();  // the step is just copying the last one out
      }
    } else {
      if (stop.stop_requested()) return false;
      std::this_thread::sleep_for(kPoll);
    }
  }
  Add(count_.offered);
  if (bell_) bell_->Ring();
  return true;
}

void Stream::Reject(std::string_view why) {
  const std::lock_guard lock(reject_mutex_);
  last_reject_ = why;
  Add(count_.rejected);
}

void Stream::SourceStarts() noexcept {
  if (stale_ns_ > 0) arrival_ns_.store(NowNs(), std::memory_order_relaxed);
}

void Stream::SourceEnds(bool stopped) {
  if (stale()) Add(count_.stale);
  arrival_ns_.store(0, std::memory_order_relaxed);
  if (!intake_ || (stopped && intake_->gives_again())) return;
  intake_->Flush([this](const SampleHead& h, std::span<const float> v) { return Push(h, v, {}); });
}

Stream::Work Stream::TakeWork() noexcept {
  if (!pending_) {
    if (request_.load(std::memory_order_acquire) == Request::asked) SaveCheckpoint();
    if (!in_.Pop(&sample_, x_)) return Work::none;
    action_ = clock_.Next(sample_);
    held_done_ = 0;
    pending_ = true;
    count_.duplicates.store(clock_.duplicates(), std::memory_order_relaxed);
    count_.gaps.store(clock_.gaps(), std::memory_order_relaxed);
    count_.missing.store(clock_.missing(), std::memory_order_relaxed);
    count_.time_back.store(clock_.time_back(), std::memory_order_relaxed);
  }
  if (action_.drop) {
    FinishSample();
    return Work::done;
  }
  if (!out_.HasRoom()) {
    out_blocked_.store(true, std::memory_order_seq_cst);
    if (!out_.HasRoom()) return Work::none;
  }
  const uint32_t quality = sample_.historical ? uint32_t{kHistorical} : 0;
  if (held_done_ < action_.hold) {
    due_ = {missing_, HeldTime(action_, sample_.t, held_done_++), 0, kGap | quality, false};
  } else {
    if (action_.reset) {
      stepper_->Reset();
      history_.Clear();
      epoch_ = NextEpoch(epoch_);
      Add(count_.resets);
    }
    due_ = {x_, sample_.t, action_.gap_s, quality, true};
  }
  stepping_.store(true, std::memory_order_relaxed);
  return Work::step;
}

void Stream::StepAlone() noexcept {
  const int64_t begin = NowNs();
  bool answers = false;
  const Status status = stepper_->Step(due_.x, y_, &answers);
  Finish(status, answers, y_, begin, NowNs());
}

void Stream::StepTogether(Batch& batch, std::span<Stream* const> streams) noexcept {
  const int64_t begin = NowNs();
  for (const Stream* s : streams) batch.Add(s->stepper_->lane(), s->due_.x);
  const Status status = batch.Run();
  const int64_t end = NowNs();
  for (Stream* s : streams) {
    s->Finish(status, true, batch.output(s->stepper_->lane()), begin, end);
  }
  batch.Clear();
}

bool Stream::Turn() noexcept {
  const Work work = TakeWork();
  if (work == Work::step) StepAlone();
  return work != Work::none;
}

void Stream::FinishSample() noexcept {
  position_ = sample_.position;
  pending_ = false;
  Add(count_.samples);
}

void Stream::Finish(Status status, bool answers, std::span<const float> y, int64_t begin,
                    int64_t end) noexcept {
  stepping_.store(false, std::memory_order_relaxed);
  if (status != Status::ok && status != Status::held) {
    Add(count_.errors);
  } else {
    history_.Record(due_.x);
    if (answers) {
      OutputHead head;
      head.t = due_.t;
      head.seq = seq_++;
      head.epoch = epoch_;
      head.gap_s = due_.gap_s;
      head.receive_ns = sample_.receive_ns;
      head.latency_ns = end - sample_.receive_ns;
      head.quality = due_.quality | stepper_->quality();
      // What is replayed was due before the restart.
      const bool due = deadline_ns_ > 0 && !(due_.quality & kHistorical);
      if (due && head.latency_ns > deadline_ns_) head.quality |= kLate;
      step_time_.Record(end - begin);
      latency_.Record(head.latency_ns);
      if (head.quality & kHeld) Add(count_.held);
      if (head.quality & kLate) Add(count_.late);
      out_.Push(head, y, due_.x);
      Add(count_.outputs);
    }
  }
  if (due_.last) FinishSample();
}

void Stream::SaveCheckpoint() noexcept {
  if (stepper_->Save(checkpoint_.session) != Status::ok) {
    Add(count_.errors);
    request_.store(Request::none, std::memory_order_release);
    return;
  }
  checkpoint_.epoch = epoch_;
  checkpoint_.seq = seq_;
  checkpoint_.position = position_;
  checkpoint_.clock = clock_.state();
  checkpoint_outputs_ = count_.outputs.load(std::memory_order_relaxed);
  request_.store(Request::ready, std::memory_order_release);
}

bool Stream::Take(OutputHead* head, std::span<float> y, std::span<float> x) noexcept {
  if (!out_.Pop(head, taken_)) return false;
  std::copy_n(taken_.begin(), y.size(), y.begin());
  std::copy_n(taken_.begin() + static_cast<ptrdiff_t>(y.size()), x.size(), x.begin());
  // Half a ring of room before the wake-up, or the two threads would alternate by single outputs.
  if (out_blocked_.load(std::memory_order_seq_cst) && out_.size() <= out_.capacity() / 2) {
    out_blocked_.store(false, std::memory_order_seq_cst);
    if (bell_) bell_->Ring();
  }
  return true;
}

void Stream::MarkPublished() noexcept { Add(count_.published); }

void Stream::RequestCheckpoint() noexcept {
  request_.store(Request::asked, std::memory_order_release);
  if (bell_) bell_->Ring();
}

Checkpoint* Stream::FetchCheckpoint() noexcept {
  if (request_.load(std::memory_order_acquire) != Request::ready) return nullptr;
  if (count_.published.load(std::memory_order_acquire) < checkpoint_outputs_) return nullptr;
  return &checkpoint_;
}

bool Stream::stale() const noexcept {
  const int64_t last = arrival_ns_.load(std::memory_order_relaxed);
  return stale_ns_ > 0 && last != 0 && NowNs() - last > stale_ns_ && idle();
}

bool Stream::idle() const noexcept {
  const uint64_t done = count_.samples.load(std::memory_order_acquire) +
                        count_.dropped.load(std::memory_order_acquire);
  return done == count_.offered.load(std::memory_order_acquire);
}

bool Stream::stepping() const noexcept { return stepping_.load(std::memory_order_relaxed); }

bool Stream::published() const noexcept {
  return count_.published.load(std::memory_order_acquire) ==
         count_.outputs.load(std::memory_order_acquire);
}

StreamCounts Stream::counts() const noexcept {
  const auto get = [](const std::atomic<uint64_t>& c) { return c.load(std::memory_order_acquire); };
  StreamCounts c;
  c.samples = get(count_.samples);
  c.outputs = get(count_.outputs);
  c.published = get(count_.published);
  c.dropped = get(count_.dropped);
  c.rejected = get(count_.rejected);
  c.duplicates = get(count_.duplicates);
  c.gaps = get(count_.gaps);
  c.missing = get(count_.missing);
  c.time_back = get(count_.time_back);
  c.held = get(count_.held);
  c.late = get(count_.late);
  c.resets = get(count_.resets);
  c.errors = get(count_.errors);
  c.stale = get(count_.stale);
  if (intake_) {
    c.reordered = intake_->order().reordered();
    c.too_late = intake_->order().too_late();
    c.duplicates += intake_->order().duplicates();
  }
  return c;
}

std::string Stream::last_reject() const {
  const std::lock_guard lock(reject_mutex_);
  return last_reject_;
}

}  // namespace xst::stream
