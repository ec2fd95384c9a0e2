#include "apps/xstd/feed.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <exception>
#include <limits>
#include <random>
#include <stop_token>
#include <utility>

#include "apps/xstd/make_source.h"

namespace xstd {

using std::chrono::steady_clock;
using xst::Error;
using xst::stream::Checkpoint;
using xst::stream::Stream;

namespace {

constexpr std::chrono::milliseconds kPoll(1);
constexpr std::chrono::seconds kReportEvery(5), kNoStep(10);
constexpr std::chrono::seconds kPatience(5);  // of a lossless stream with its subscribers
constexpr uint64_t kNever = std::numeric_limits<uint64_t>::max();  // kept, of samples
constexpr double kSoonest = 0.1;  // s from a start to its first checkpoint

uint64_t RandomEpoch() {
  std::random_device device;
  return (uint64_t{device()} << 21) ^ (device() & ((1u << 21) - 1));
}

bool IsLossless(const StreamConfig& config) {
  using Type = SourceConfig::Type;
  return config.on_full == xst::stream::OnFull::block &&
         (config.source.type == Type::replay || config.source.type == Type::acked);
}

bool WaitUntil(steady_clock::time_point end, const std::function<bool()>& done) {
  while (!done()) {
    if (steady_clock::now() >= end) return false;
    std::this_thread::sleep_for(kPoll);
  }
  return true;
}

}  // namespace

std::unique_ptr<Stream> MakeStream(const StreamConfig& config,
                                   std::shared_ptr<const xst::Model> model) {
  xst::stream::StreamOptions options;
  options.name = config.name;
  options.queue = config.queue;
  options.on_full = config.on_full;
  if (IsLossless(config)) options.patience = kPatience;
  if (config.on_reload) options.replay = config.on_reload->replay;
  options.order_window = config.clock.order_window;
  options.resample = config.clock.resample;
  options.stale_s = config.clock.stale_s;
  if (options.resample != xst::stream::Resample::none && !(model->info().rate_hz > 0)) {
    throw Error(xst::Status::invalid_config,
                config.clock.resample_place + ": clock.resample: expected none (model " +
                    config.model + " takes events, rate_hz 0), got another");
  }
  options.deadline = config.source.type != SourceConfig::Type::replay || config.source.speed > 0;
  return std::make_unique<Stream>(std::move(model), std::move(options), RandomEpoch());
}

Feed::Feed(const StreamConfig& config, std::shared_ptr<const xst::Model> model, StateDir* state,
           bool restore)
    : config_(config),
      model_(std::move(model)),
      state_(state),
      lossless_(state && IsLossless(config)),
      stream_(MakeStream(config, model_)) {
  if (state_ && restore) Restore();
}

void Feed::Restore() {
  StateDir::Found found = state_->Read(name());
  if (!found.warning.empty()) spdlog::warn("{}: {}", name(), found.warning);
  OpenLog(found.checkpoint ? &*found.checkpoint : nullptr);
  if (!found.checkpoint) return;
  fresh_ = false;
  kept_position_ = found.checkpoint->position;
  try {
    stream_->Restore(*found.checkpoint);
  } catch (const Error& e) {
    if (e.code() == xst::Status::other_model) {
      // Outputs that are stepped again are not those of the former model.
      found.checkpoint->epoch = xst::stream::NextEpoch(found.checkpoint->epoch);
      if (GoOn(*found.checkpoint, {0, 0}, config_.on_reload.has_value())) return;
    }
    throw Error(e.code(), found.file + ": " + e.what() +
                              "; give the stream its former model, or remove " +
                              state_->SlotPath(name(), 0) + " and .b to start it afresh");
  }
  spdlog::info("{}: goes on from {} at seq {}", name(), found.file, found.checkpoint->seq);
  if (log_ && log_->kept() > kept_position_) {
    spdlog::info("{}: {} samples of its input log are replayed", name(),
                 log_->kept() - kept_position_);
  }
}

void Feed::OpenLog(const Checkpoint* from) {
  if (!state_ || config_.source.type != SourceConfig::Type::acked) return;
  log_ = std::make_unique<InputLog>(state_->path(), name(), stream_->info().input_width, from);
  if (!log_->warning().empty()) spdlog::warn("{}: {}", name(), log_->warning());
}

void Feed::TakeOver(const Checkpoint& checkpoint, const xst::stream::History& history,
                    bool same_place) {
  OpenLog(same_place ? &checkpoint : nullptr);
  GoOn(checkpoint, history, true);
}

bool Feed::GoOn(const Checkpoint& checkpoint, const xst::stream::History& history,
                bool may_start_afresh) {
  KeepSoon();
  try {
    xst::LoadOptions options;
    options.allow_other_weights = true;
    stream_->Restore(checkpoint, options);
    spdlog::info("{}: goes on at seq {} with the state it had", name(), checkpoint.seq);
  } catch (const Error& e) {
    if (e.code() != xst::Status::other_model) throw;
    if (!may_start_afresh) return false;
    stream_->RestoreAfresh(checkpoint, history);
    spdlog::warn("{}: goes on at seq {} with a fresh state behind {} inputs again: {}", name(),
                 checkpoint.seq, history.size(), e.what());
  }
  return true;
}

bool Feed::Swap(const StreamConfig& config, std::shared_ptr<const xst::Model> model,
                std::unique_ptr<xst::stream::Stepper> stepper) {
  const bool same = model->info().arch_hash == model_->info().arch_hash;
  if (same) {
    xst::LoadOptions options;
    options.allow_other_weights = true;
    stream_->Replace(std::move(stepper), options);
  } else {
    stream_->Renew(std::move(stepper));
  }
  model_ = std::move(model);
  config_ = config;
  KeepSoon();
  return same;
}

void Feed::KeepSoon() {
  last_request_ = {};
  kept_samples_ = kNever;
}

void Feed::KeepNothing() {
  state_ = nullptr;
  lossless_ = false;
  keeps_nothing_ = true;
  log_.reset();
}

void Feed::OpenSource(zmq::context_t* context, const xst::zeromq::CurveServer* curve,
                      const SourceConfig& source) {
  if (source.type == SourceConfig::Type::acked && !log_) {
    throw Error(xst::Status::invalid_argument,
                "source: expected one without an input log, got acked");
  }
  source_ = MakeSource(source, *stream_, context, curve, log_.get());
  config_.source = source;
}

void Feed::Start() {
  if (!source_) return;
  started_ = steady_clock::now();
  if (lossless_) last_request_ = started_;
  thread_ = std::jthread([this](std::stop_token stop) {
    try {
      stream_->SourceStarts();
      source_->Run(*stream_, stop);
      stream_->SourceEnds(stop.stop_requested());
    } catch (const std::exception& e) {
      spdlog::error("{}: {}", name(), e.what());
      failed_ = true;
    }
    ended_ = true;
  });
}

void Feed::Join(const std::function<void()>& tick) {
  while (thread_.joinable() && !ended_) {
    tick();
    std::this_thread::sleep_for(kPoll);
  }
  if (thread_.joinable()) thread_.join();
}

void Feed::ReportAtTimes() {
  if (stream_->stale() != reported_stale_) {
    reported_stale_ = !reported_stale_;
    if (reported_stale_) {
      spdlog::warn("{}: stale, no sample for {} s", name(), config_.clock.stale_s);
    } else {
      spdlog::info("{}: samples again", name());
    }
  }
  if (steady_clock::now() - last_report_ >= kReportEvery) Report();
}

// One line per kind of loss and report period, however many losses there were.
void Feed::Report() {
  const auto c = stream_->counts();
  auto& r = reported_;
  bool any = c.rejected > r.rejected || c.dropped > r.dropped || c.duplicates > r.duplicates ||
             c.missing > r.missing || c.time_back > r.time_back || c.errors > r.errors ||
             c.too_late > r.too_late || snapshot_errors_ > reported_errors_ ||
             log_errors() > reported_log_errors_;
  if (c.rejected > r.rejected) {
    spdlog::warn("{}: {} malformed messages, the last: {}", name(), c.rejected,
                 stream_->last_reject());
  }
  if (c.dropped > r.dropped) spdlog::warn("{}: {} samples dropped, queue full", name(), c.dropped);
  if (c.duplicates > r.duplicates) {
    spdlog::warn("{}: {} samples dropped, their seq or time was not above the last", name(),
                 c.duplicates);
  }
  if (c.missing > r.missing) {
    spdlog::warn("{}: {} samples missing in {} gaps", name(), c.missing, c.gaps);
  }
  if (c.time_back > r.time_back) {
    spdlog::warn("{}: the source's time stepped back {} times", name(), c.time_back);
  }
  ReportSource(&any);
  if (c.too_late > r.too_late) {
    spdlog::warn("{}: {} samples dropped, they came behind the order window", name(), c.too_late);
  }
  if (c.errors > r.errors) spdlog::error("{}: {} samples refused by the model", name(), c.errors);
  if (snapshot_errors_ > reported_errors_) {
    spdlog::error("{}: {} snapshots failed, the stream goes on; the last: {}", name(),
                  snapshot_errors_, snapshot_error_);
    reported_errors_ = snapshot_errors_;
  }
  if (log_errors() > reported_log_errors_) {
    reported_log_errors_ = log_errors();
    spdlog::error(
        "{}: {} writes of the input log failed, nothing is acknowledged until one works; "
        "the last: {}",
        name(), reported_log_errors_, log_->last_error());
  }
  r = c;
  if (any) last_report_ = steady_clock::now();
}

void Feed::ReportSource(bool* any) {
  const auto c = source_counts();
  if (c.lost > reported_source_.lost) {
    spdlog::warn("{}: {} messages lost before they were read", name(), c.lost);
    *any = true;
  }
  if (c.refused > reported_source_.refused) {
    spdlog::warn("{}: {} messages refused, their sender is not allowed", name(), c.refused);
    *any = true;
  }
  reported_source_ = c;
}

void Feed::KeepFirst() {
  if (!lossless_ || !fresh_) return;
  Checkpoint* const checkpoint = AwaitCheckpoint(steady_clock::now() + kNoStep);
  if (!checkpoint) {
    throw Error(xst::Status::io_error,
                name() + ": expected a first snapshot from the stream, got none in time");
  }
  Keep(checkpoint);
}

void Feed::Keep(double every_s) {
  if (!state_) return;
  const auto now = steady_clock::now();
  if (requested_) {
    Checkpoint* checkpoint = stream_->FetchCheckpoint();
    if (!checkpoint && stream_->checkpoint_pending()) return;
    if (!checkpoint) {
      requested_ = false;
      ++snapshot_errors_;
      snapshot_error_ = "expected the state of the model, got none";
      return;
    }
    if (!flushed_ || flushed_seq_ != checkpoint->seq) {  // a swap asks for another one
      flushed_ = lossless_ ? now + kFlush : now;
      flushed_seq_ = checkpoint->seq;
    }
    if (now < *flushed_) return;
    flushed_.reset();
    requested_ = false;
    Write(checkpoint);
    return;
  }
  const std::chrono::duration<double> since = now - last_request_, up = now - started_;
  if (lossless_) every_s = std::min(every_s, std::max(kSoonest, up.count()));
  const uint64_t samples = stream_->counts().samples;
  const bool due = since.count() >= every_s && samples != kept_samples_;
  if (!due && !(log_ && log_->WantsCheckpoint())) return;
  last_request_ = now;
  kept_samples_ = samples;
  requested_ = true;
  stream_->RequestCheckpoint();
}

void Feed::Keep(Checkpoint* checkpoint) {
  state_->Write(name(), checkpoint);
  ++snapshots_;
  if (log_) log_->Truncate(kept_position_, checkpoint->position);
  kept_position_ = checkpoint->position;
}

bool Feed::Write(Checkpoint* checkpoint) {
  try {
    Keep(checkpoint);
    return true;
  } catch (const std::exception& e) {
    ++snapshot_errors_;
    snapshot_error_ = e.what();
    kept_samples_ = kNever;
    return false;
  }
}

void Feed::Drain(steady_clock::time_point end, const std::function<void()>& tick) {
  const Stream& stream = *stream_;
  const auto drained = [&] {
    tick();
    return stream.idle() && stream.published();
  };
  const auto steps = [&] { return stream.counts().samples + stream.counts().outputs; };
  uint64_t before;
  do {  // as long as it gets on
    before = steps();
  } while (!WaitUntil(std::min(end, steady_clock::now() + kNoStep), drained) &&
           steady_clock::now() < end && (steps() > before || stream.stepping()));
  drained_ = steady_clock::now();
  if (!stream.idle() || !stream.published()) {
    spdlog::error("{}: expected to step what waits before the end, got {} samples left{}", name(),
                  stream.queued(), steady_clock::now() < end ? " and no step" : "");
    failed_ = true;
  }
  if (state_ && ended_ && !failed_ && stream.start_position() > 0 && stream.counts().samples == 0 &&
      config_.source.type == SourceConfig::Type::replay) {
    spdlog::warn("{}: {} was already played to its end; remove {} and .b to play it again", name(),
                 config_.source.file, state_->SlotPath(name(), 0));
  }
}

Checkpoint* Feed::AwaitCheckpoint(steady_clock::time_point end) {
  stream_->RequestCheckpoint();
  Checkpoint* checkpoint = nullptr;
  WaitUntil(end, [&] { return (checkpoint = stream_->FetchCheckpoint()) != nullptr; });
  return checkpoint;
}

Checkpoint* Feed::LastCheckpoint(steady_clock::time_point end) {
  Checkpoint* const checkpoint = AwaitCheckpoint(end);
  if (lossless_) std::this_thread::sleep_until(drained_ + kFlush);
  return checkpoint;
}

void Feed::KeepLast(steady_clock::time_point end) {
  const bool taken_over = kept_samples_ == kNever || requested_;
  if (!state_ || (stream_->counts().samples == 0 && !taken_over)) return;
  Checkpoint* const checkpoint = LastCheckpoint(end);
  if (checkpoint && Write(checkpoint)) return;
  spdlog::error(
      "{}: expected to write the last snapshot, got {}; the next start goes on from an older one",
      name(), checkpoint ? snapshot_error_ : "none from the stream in time");
  reported_errors_ = snapshot_errors_;
  failed_ = true;
}

}  // namespace xstd
