#include "apps/xstd/feed.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <exception>
#include <functional>
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
constexpr std::chrono::seconds kReportEvery(5), kDrain(10);
constexpr std::chrono::seconds kPatience(5);  // of a lossless stream with its subscribers
constexpr double kSoonest = 0.1;              // s from a start to its first checkpoint

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
  options.deadline = config.source.type != SourceConfig::Type::replay || config.source.speed > 0;
  return std::make_unique<Stream>(std::move(model), std::move(options), RandomEpoch());
}

Feed::Feed(const StreamConfig& config, std::shared_ptr<const xst::Model> model, StateDir* state)
    : config_(config),
      state_(state),
      lossless_(state && IsLossless(config)),
      stream_(MakeStream(config, std::move(model))) {
  if (state_) Restore();
}

void Feed::Restore() {
  StateDir::Found found = state_->Read(name());
  if (!found.warning.empty()) spdlog::warn("{}: {}", name(), found.warning);
  if (config_.source.type == SourceConfig::Type::acked) {
    log_ = std::make_unique<InputLog>(state_->path(), name(), stream_->info().input_width,
                                      found.checkpoint ? &*found.checkpoint : nullptr);
    if (!log_->warning().empty()) spdlog::warn("{}: {}", name(), log_->warning());
  }
  if (!found.checkpoint) return;
  fresh_ = false;
  kept_position_ = found.checkpoint->position;
  try {
    stream_->Restore(*found.checkpoint);
  } catch (const Error& e) {
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

void Feed::OpenSource(zmq::context_t* context) {
  source_ = MakeSource(config_.source, *stream_, context, log_.get());
}

void Feed::Start() {
  started_ = steady_clock::now();
  if (lossless_) last_request_ = started_;
  thread_ = std::jthread([this](std::stop_token stop) {
    try {
      source_->Run(*stream_, std::move(stop));
    } catch (const std::exception& e) {
      spdlog::error("{}: {}", name(), e.what());
      failed_ = true;
    }
    ended_ = true;
  });
}

void Feed::Join() {
  if (thread_.joinable()) thread_.join();
}

void Feed::ReportAtTimes() {
  if (steady_clock::now() - last_report_ >= kReportEvery) Report();
}

// One line per kind of loss and report period, however many losses there were.
void Feed::Report() {
  const auto c = stream_->counts();
  auto& r = reported_;
  const bool any = c.rejected > r.rejected || c.dropped > r.dropped ||
                   c.duplicates > r.duplicates || c.missing > r.missing ||
                   c.time_back > r.time_back || c.errors > r.errors ||
                   snapshot_errors_ > reported_errors_ || log_errors() > reported_log_errors_;
  if (c.rejected > r.rejected) {
    spdlog::warn("{}: {} malformed messages, the last: {}", name(), c.rejected,
                 stream_->last_reject());
  }
  if (c.dropped > r.dropped) spdlog::warn("{}: {} samples dropped, queue full", name(), c.dropped);
  if (c.duplicates > r.duplicates) {
    spdlog::warn("{}: {} samples dropped, their seq was not above the last", name(), c.duplicates);
  }
  if (c.missing > r.missing) {
    spdlog::warn("{}: {} samples missing in {} gaps", name(), c.missing, c.gaps);
  }
  if (c.time_back > r.time_back) {
    spdlog::warn("{}: the source's time stepped back {} times", name(), c.time_back);
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

void Feed::KeepFirst() {
  if (!lossless_ || !fresh_) return;
  stream_->RequestCheckpoint();
  Checkpoint* checkpoint = nullptr;
  WaitUntil(steady_clock::now() + kDrain,
            [&] { return (checkpoint = stream_->FetchCheckpoint()) != nullptr; });
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
    if (!checkpoint) return;
    if (!flushed_) flushed_ = lossless_ ? now + kFlush : now;
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
  } catch (const Error& e) {
    ++snapshot_errors_;
    snapshot_error_ = e.what();
    return false;
  }
}

void Feed::Drain() {
  const Stream& stream = *stream_;
  const auto steps = [&] { return stream.counts().samples + stream.counts().outputs; };
  uint64_t before;
  do {  // as long as it gets on
    before = steps();
  } while (!WaitUntil(steady_clock::now() + kDrain, [&] {
    return stream.idle() && stream.published();
  }) && (steps() > before || stream.stepping()));
  drained_ = steady_clock::now();
  if (!stream.idle() || !stream.published()) {
    spdlog::error("{}: expected to step what waits, got no step within {} s and samples left",
                  name(), kDrain.count());
    failed_ = true;
  }
  if (ended_ && !failed_ && stream.start_position() > 0 && stream.counts().samples == 0 &&
      config_.source.type == SourceConfig::Type::replay) {
    spdlog::warn("{}: {} was already played to its end; remove {} and .b to play it again", name(),
                 config_.source.file, state_->SlotPath(name(), 0));
  }
}

void Feed::KeepLast(steady_clock::time_point end) {
  if (!state_ || stream_->counts().samples == 0) return;
  stream_->RequestCheckpoint();
  Checkpoint* checkpoint = nullptr;
  WaitUntil(end, [&] { return (checkpoint = stream_->FetchCheckpoint()) != nullptr; });
  if (lossless_) std::this_thread::sleep_until(drained_ + kFlush);
  if (checkpoint && Write(checkpoint)) return;
  spdlog::error(
      "{}: expected to write the last snapshot, got {}; the next start goes on from an older one",
      name(), checkpoint ? snapshot_error_ : "none from the stream in time");
  reported_errors_ = snapshot_errors_;
  failed_ = true;
}

}  // namespace xstd
