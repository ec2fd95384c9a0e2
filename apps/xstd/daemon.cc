#include "apps/xstd/daemon.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <chrono>
#include <utility>

#include "apps/xstd/log.h"
#include "apps/xstd/mqtt_source.h"
#include "apps/xstd/sources.h"
#include "apps/xstd/summary.h"

namespace xstd {

using std::chrono::steady_clock;
using xst::Error;
using xst::stream::Stream;

namespace {

constexpr std::chrono::milliseconds kTick(20);
constexpr std::chrono::seconds kFinalState(10);

// Errors of one stream say which.
template <class F>
auto Named(const std::string& stream, F make) {
  try {
    return make();
  } catch (const Error& e) {
    throw Error(e.code(), "stream " + stream + ": " + e.what());
  } catch (const std::exception& e) {
    throw Error(xst::Status::io_error, "stream " + stream + ": " + e.what());
  }
}

}  // namespace

void CheckModels(const DaemonConfig& config) {
  CheckKeys(config);
  const ModelSet models = ModelSet::Open(config, nullptr);
  for (const StreamConfig& c : config.streams) {
    const auto checked = Named(c.name, [&] {
      auto stream = MakeStream(c, models.Of(c));
      if (c.source.type == SourceConfig::Type::replay) {
        ReplaySource(c.source.file, c.source.speed, stream->info());
      }
      if (c.source.type == SourceConfig::Type::mqtt) MqttSource(c.source, c.name);
      return stream;
    });
    MakeAlarms(c, *checked);
  }
}

Daemon::Daemon(const DaemonConfig& config, const DaemonOptions& options)
    : config_(config), options_(options), operations_(config) {
  models_ = ModelSet::Open(config_, nullptr);
  if (!config_.state_dir.empty()) state_ = std::make_unique<StateDir>(config_.state_dir);
  for (const StreamConfig& c : config_.streams) {
    feeds_.push_back(
        Named(c.name, [&] { return std::make_unique<Feed>(c, models_.Of(c), state_.get()); }));
  }
  models_.Decide(nullptr);
  JoinBatches(models_);
  curve_ = MakeCurve(context_, config_.curve);
  outputs_ = std::make_unique<Outputs>(context_, config_, curve_.get());
  outputs_->SetAlarms(feeds_);
  if (config_.realtime.lock_memory) xst::stream::LockMemory();
  MakeLoops();
  std::vector<xst::stream::Sink*> sinks = outputs_->sinks();
  if (auto* live = operations_.sink()) sinks.push_back(live);
  publisher_ = std::make_unique<xst::stream::Publisher>(Streams(), sinks);
  // Refused priorities are known before a source is there. Last: a bound source already takes
  // samples, and nothing may fail with them in hand.
  loop_->Start();
  for (auto& [stream, loop] : forecast_loops_) loop->Start();
  for (auto& feed : feeds_) Named(feed->name(), [&] { feed->KeepFirst(); });
  for (auto& feed : feeds_) Named(feed->name(), [&] { feed->OpenSource(&context_, curve_.get()); });
}

Daemon::~Daemon() {
  for (auto& feed : feeds_) feed->RequestStop();
  for (auto& feed : feeds_) feed->Join([] {});  // while the step still goes on
}

std::vector<Stream*> Daemon::Streams() const {
  std::vector<Stream*> streams;
  for (const auto& feed : feeds_) streams.push_back(&feed->stream());
  return streams;
}

Feed* Daemon::Find(const std::string& name) const {
  const auto found = std::find_if(feeds_.begin(), feeds_.end(),
                                  [&](const auto& feed) { return feed->name() == name; });
  return found == feeds_.end() ? nullptr : found->get();
}

// A forecast takes as long as many steps: each forecasting stream has a step thread of its own.
void Daemon::MakeLoops() {
  std::vector<Stream*> stepped;
  for (Stream* stream : Streams()) {
    if (stream->info().config.family == xst::formats::Family::tirex) {
      auto& loop = forecast_loops_[stream];
      if (!loop) {
        loop = std::make_unique<xst::stream::Loop>(std::vector{stream}, config_.realtime.thread);
      }
    } else {
      stepped.push_back(stream);
    }
  }
  if (loop_) return loop_->SetStreams(std::move(stepped));
  loop_ = std::make_unique<xst::stream::Loop>(std::move(stepped), config_.realtime.thread);
}

void Daemon::JoinBatches(const ModelSet& models) {
  std::map<std::shared_ptr<xst::stream::Batch>, std::vector<Stream*>> joining;
  for (const auto& feed : feeds_) {
    // One that could not go over to a new model is none of these.
    const auto batch = models.BatchOf(feed->config(), feed->model());
    if (batch && feed->stream().stepper().batch() != batch.get()) {
      joining[batch].push_back(&feed->stream());
    }
  }
  for (const auto& [batch, streams] : joining) xst::stream::Join(batch, streams);
}

bool Daemon::Wait(const sigset_t& signals) {
  timespec wait{};
  wait.tv_nsec = std::chrono::nanoseconds(kTick).count();
  const int signal = sigtimedwait(&signals, nullptr, &wait);
  if (signal == SIGHUP) RequestReload();
  return signal <= 0 || signal == SIGHUP;
}

// What is published while a subscriber is not yet connected (again) passes it by. libzmq's
// subscribers try again every 0.1 to 0.2 s, but only once they have read what they had received.
bool Daemon::WaitForSubscriber(const sigset_t& signals) {
  constexpr double kFirst = 5, kOthers = 0.5;  // s
  const bool lossless =
      std::any_of(feeds_.begin(), feeds_.end(), [](const auto& feed) { return feed->lossless(); });
  const bool set = options_.wait_subscriber_s.has_value();
  const auto in = [begin = steady_clock::now()](double s) {
    return begin + std::chrono::duration_cast<steady_clock::duration>(
                       std::chrono::duration<double>(std::min(s, 1e9)));
  };
  const auto end = in(set ? *options_.wait_subscriber_s : lossless ? kFirst : 0);
  const auto others = in(set || !lossless ? 0 : kOthers);
  while (steady_clock::now() < end &&
         !(outputs_->pub().PollSubscribed() && steady_clock::now() >= others)) {
    if (!Wait(signals)) return false;
    operations_.Tick(feeds_);
  }
  return true;
}

int Daemon::Run(const sigset_t& signals) {
  std::string ready = "ready " + outputs_->Ready();
  for (const auto& feed : feeds_) {
    const std::string endpoint = feed->endpoint();
    if (!endpoint.empty()) ready += " " + feed->name() + "=" + endpoint;
  }
  Announce(ready + operations_.endpoint());
  operations_.Start(feeds_, [this](DaemonStatus* status) { Describe(status); });
  const bool go_on = WaitForSubscriber(signals);
  publisher_->Start();
  for (auto& feed : feeds_) feed->Start();  // also after a stop: what was pushed meanwhile is taken
  while (go_on && (preparing_.valid() || !AllEnded()) && Wait(signals)) Tick();
  Drain();
  for (const auto& feed : feeds_) feed->Report();
  if (!options_.summary.empty()) WriteSummary();
  const bool failed =
      std::any_of(feeds_.begin(), feeds_.end(), [](const auto& feed) { return feed->failed(); });
  return failed ? 1 : 0;
}

bool Daemon::AllEnded() const {
  return std::all_of(feeds_.begin(), feeds_.end(), [](const auto& feed) { return feed->ended(); });
}

void Daemon::Describe(DaemonStatus* status) const {
  status->publish_endpoint = outputs_->pub().endpoint();
  status->reloads = reloads_;
  status->reload_errors = reload_errors_;
  status->refused = curve_ ? curve_->refused() : 0;
  for (const auto& alarms : outputs_->alarms()) {
    const auto stream = std::find_if(
        status->streams.begin(), status->streams.end(),
        [&](const StreamStatus& s) { return s.name == alarms->stream().options().name; });
    if (stream == status->streams.end()) continue;
    for (const auto& alarm : alarms->all()) {
      stream->alarms.push_back({alarm->rule().name, alarm->rule().output, alarm->active(),
                                alarm->changed_t(), alarm->changed_value()});
    }
  }
}

void Daemon::Tick() {
  if (const uint64_t errors = publisher_->errors(); errors > reported_sink_errors_) {
    spdlog::error("publisher: {} outputs could not be handed on", errors);
    reported_sink_errors_ = errors;
  }
  operations_.Tick(feeds_);
  PollReload();
  for (auto& feed : feeds_) {
    feed->ReportAtTimes();
    feed->Keep(options_.snapshot_every_s);
  }
  refusals_.Report(curve_.get());
}

void Daemon::Drain() {
  operations_.Stopping();
  for (auto& feed : feeds_) feed->RequestStop();
  const auto tick = [this] { operations_.Tick(feeds_); };
  for (auto& feed : feeds_) feed->Join(tick);
  const auto drained = steady_clock::now() + Feed::kLongestDrain;
  for (auto& feed : feeds_) feed->Drain(drained, tick);
  const auto last = steady_clock::now() + kFinalState;
  for (auto& feed : feeds_) feed->KeepLast(last);
  loop_->Stop();
  for (auto& [stream, loop] : forecast_loops_) loop->Stop();
  publisher_->Stop();
  outputs_->pub().Bye();
}

void Daemon::WriteSummary() const {
  std::vector<StreamSummary> streams;
  for (const auto& feed : feeds_) {
    streams.push_back(
        {&feed->stream(), feed->snapshots(), feed->snapshot_errors(), feed->log_errors()});
  }
  try {
    xstd::WriteSummary(options_.summary, streams);
  } catch (const Error& e) {
    spdlog::error("{}", e.what());
  }
}

}  // namespace xstd
