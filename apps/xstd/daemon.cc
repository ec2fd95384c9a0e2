#include "apps/xstd/daemon.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <functional>
#include <map>
#include <random>
#include <stop_token>

#include "apps/xstd/sources.h"
#include "apps/xstd/summary.h"
#include "sdk/zmq/message_source.h"

namespace xstd {

using std::chrono::steady_clock;
using xst::Error;
using xst::Status;
using xst::stream::Checkpoint;
using xst::stream::Stream;

namespace {

constexpr std::chrono::milliseconds kTick(20), kPoll(1);
constexpr std::chrono::seconds kReportEvery(5), kDrain(10), kFinalState(10);

// Opens each model once, however many streams it has.
class Models {
 public:
  std::shared_ptr<const xst::Model> Open(const StreamConfig& stream) {
    auto& model = models_[stream.model + "\n" + stream.device.ToString()];
    if (!model) {
      xst::Options options;
      options.device = stream.device;
      model = xst::Model::open(stream.model, options);
    }
    return model;
  }

 private:
  std::map<std::string, std::shared_ptr<const xst::Model>> models_;
};

uint64_t RandomEpoch() {
  std::random_device device;
  return (uint64_t{device()} << 21) ^ (device() & ((1u << 21) - 1));
}

std::unique_ptr<Stream> MakeStream(const StreamConfig& config, Models* models) {
  xst::stream::StreamOptions options;
  options.name = config.name;
  options.queue = config.queue;
  options.on_full = config.on_full;
  options.deadline = config.source.type != SourceConfig::Type::replay || config.source.speed > 0;
  return std::make_unique<Stream>(models->Open(config), std::move(options), RandomEpoch());
}

std::unique_ptr<xst::stream::Source> MakeSource(const SourceConfig& config, const Stream& stream,
                                                zmq::context_t* context) {
  switch (config.type) {
    case SourceConfig::Type::replay:
      return std::make_unique<ReplaySource>(config.file, config.speed, stream.info());
    case SourceConfig::Type::pull:
      return xst::zeromq::MessageSource::Pull(*context, config.endpoint);
    case SourceConfig::Type::sub:
      return xst::zeromq::MessageSource::Sub(*context, config.endpoint, config.topic);
    case SourceConfig::Type::stdin_lines:
      break;
  }
  return std::make_unique<StdinSource>();
}

// Errors of one stream say which.
template <class F>
auto Named(const std::string& stream, F make) {
  try {
    return make();
  } catch (const Error& e) {
    throw Error(e.code(), "stream " + stream + ": " + e.what());
  }
}

bool WaitUntil(steady_clock::time_point end, const std::function<bool()>& done) {
  while (!done()) {
    if (steady_clock::now() >= end) return false;
    std::this_thread::sleep_for(kPoll);
  }
  return true;
}

bool SignalWithin(const sigset_t& signals, std::chrono::milliseconds time) {
  timespec wait{};
  wait.tv_nsec = std::chrono::nanoseconds(time).count();
  return sigtimedwait(&signals, nullptr, &wait) > 0;
}

}  // namespace

struct Daemon::Feed {
  StreamConfig config;
  std::unique_ptr<Stream> stream;
  std::unique_ptr<xst::stream::Source> source;
  std::jthread thread;
  std::atomic<bool> ended{false}, failed{false};
  std::string state_file;

  steady_clock::time_point last_report{}, last_request{};
  xst::stream::StreamCounts reported;
  bool requested = false;
  uint64_t kept_samples = 0;
  uint64_t snapshots = 0, snapshot_errors = 0, reported_errors = 0;
  std::string snapshot_error;  // the last
};

void CheckModels(const DaemonConfig& config) {
  Models models;
  for (const StreamConfig& c : config.streams) {
    Named(c.name, [&] {
      const auto stream = MakeStream(c, &models);
      if (c.source.type == SourceConfig::Type::replay) {
        ReplaySource(c.source.file, c.source.speed, stream->info());
      }
    });
  }
}

Daemon::Daemon(const DaemonConfig& config, const DaemonOptions& options)
    : config_(config), options_(options) {
  Models models;
  if (!config_.state_dir.empty()) state_ = std::make_unique<StateDir>(config_.state_dir);
  std::vector<Stream*> streams;
  for (const StreamConfig& c : config_.streams) {
    auto feed = std::make_unique<Feed>();
    feed->config = c;
    Named(c.name, [&] {
      feed->stream = MakeStream(c, &models);
      if (state_) Restore(feed.get());
    });
    streams.push_back(feed->stream.get());
    feeds_.push_back(std::move(feed));
  }
  sink_ = std::make_unique<xst::zeromq::PubSink>(context_, config_.publish_endpoint);
  // Last: a bound source already takes samples, and nothing may fail with them in hand.
  for (auto& feed : feeds_) {
    Named(feed->config.name,
          [&] { feed->source = MakeSource(feed->config.source, *feed->stream, &context_); });
  }
  MakeLoops(streams);
  publisher_ = std::make_unique<xst::stream::Publisher>(streams, sink_.get());
}

Daemon::~Daemon() {
  for (auto& feed : feeds_) feed->thread = {};  // stops and joins while the step still goes on
}

// A forecast takes as long as many steps: each forecasting stream has a step thread of its own.
void Daemon::MakeLoops(const std::vector<Stream*>& streams) {
  std::vector<Stream*> stepped;
  for (Stream* stream : streams) {
    if (stream->info().config.family == xst::formats::Family::tirex) {
      loops_.push_back(std::make_unique<xst::stream::Loop>(std::vector{stream}));
    } else {
      stepped.push_back(stream);
    }
  }
  if (!stepped.empty()) loops_.push_back(std::make_unique<xst::stream::Loop>(stepped));
}

void Daemon::Restore(Feed* feed) {
  StateDir::Found found = state_->Read(feed->config.name);
  feed->state_file = found.file;
  if (!found.warning.empty()) spdlog::warn("{}: {}", feed->config.name, found.warning);
  if (!found.checkpoint) return;
  try {
    feed->stream->Restore(*found.checkpoint);
  } catch (const Error& e) {
    throw Error(e.code(), found.file + ": " + e.what() +
                              "; give the stream its former model, or "
                              "remove " +
                              config_.state_dir + "/" + feed->config.name +
                              ".a and .b to start it afresh");
  }
  spdlog::info("{}: goes on from {} at seq {}", feed->config.name, found.file,
               found.checkpoint->seq);
}

void Daemon::StartSources() {
  for (auto& owned : feeds_) {
    Feed* feed = owned.get();
    feed->thread = std::jthread([feed](std::stop_token stop) {
      try {
        feed->source->Run(*feed->stream, std::move(stop));
      } catch (const std::exception& e) {
        spdlog::error("{}: {}", feed->config.name, e.what());
        feed->failed = true;
      }
      feed->ended = true;
    });
  }
}

bool Daemon::WaitForSubscriber(const sigset_t& signals) {
  const auto end = steady_clock::now() +
                   std::chrono::duration_cast<steady_clock::duration>(
                       std::chrono::duration<double>(std::min(options_.wait_subscriber_s, 1e9)));
  while (steady_clock::now() < end && !sink_->PollSubscribed()) {
    if (SignalWithin(signals, kTick)) return false;
  }
  return true;
}

int Daemon::Run(const sigset_t& signals) {
  std::string ready = "ready publish=" + sink_->endpoint();
  for (const auto& feed : feeds_) {
    const std::string endpoint = feed->source->endpoint();
    if (!endpoint.empty()) ready += " " + feed->config.name + "=" + endpoint;
  }
  std::fprintf(stderr, "%s\n", ready.c_str());
  for (auto& loop : loops_) loop->Start();
  const bool go_on = WaitForSubscriber(signals);
  publisher_->Start();
  StartSources();  // also after a stop: what was pushed meanwhile is taken
  while (go_on && !AllEnded() && !SignalWithin(signals, kTick)) Tick();
  Drain();
  for (const auto& feed : feeds_) Report(feed.get());
  if (!options_.summary.empty()) WriteSummary();
  const bool failed = std::any_of(feeds_.begin(), feeds_.end(),
                                  [](const auto& feed) { return feed->failed.load(); });
  return failed ? 1 : 0;
}

bool Daemon::AllEnded() const {
  return std::all_of(feeds_.begin(), feeds_.end(),
                     [](const auto& feed) { return feed->ended.load(); });
}

void Daemon::Tick() {
  const auto now = steady_clock::now();
  for (auto& feed : feeds_) {
    if (now - feed->last_report >= kReportEvery) Report(feed.get());
    if (state_) Keep(feed.get());
  }
}

// One line per kind of loss and report period, however many losses there were.
void Daemon::Report(Feed* feed) {
  const auto c = feed->stream->counts();
  auto& r = feed->reported;
  const std::string& name = feed->config.name;
  const bool any = c.rejected > r.rejected || c.dropped > r.dropped ||
                   c.duplicates > r.duplicates || c.missing > r.missing ||
                   c.time_back > r.time_back || c.errors > r.errors ||
                   feed->snapshot_errors > feed->reported_errors;
  if (c.rejected > r.rejected) {
    spdlog::warn("{}: {} malformed messages, the last: {}", name, c.rejected,
                 feed->stream->last_reject());
  }
  if (c.dropped > r.dropped) spdlog::warn("{}: {} samples dropped, queue full", name, c.dropped);
  if (c.duplicates > r.duplicates) {
    spdlog::warn("{}: {} samples dropped, their seq was not above the last", name, c.duplicates);
  }
  if (c.missing > r.missing) {
    spdlog::warn("{}: {} samples missing in {} gaps", name, c.missing, c.gaps);
  }
  if (c.time_back > r.time_back) {
    spdlog::warn("{}: the source's time stepped back {} times", name, c.time_back);
  }
  if (c.errors > r.errors) spdlog::error("{}: {} samples refused by the model", name, c.errors);
  if (feed->snapshot_errors > feed->reported_errors) {
    spdlog::error("{}: {} snapshots failed, the stream goes on; the last: {}", name,
                  feed->snapshot_errors, feed->snapshot_error);
    feed->reported_errors = feed->snapshot_errors;
  }
  r = c;
  if (any) feed->last_report = steady_clock::now();
}

// Requests, fetches and writes the stream's checkpoint when its time has come.
void Daemon::Keep(Feed* feed) {
  const auto now = steady_clock::now();
  if (feed->requested) {
    if (Checkpoint* checkpoint = feed->stream->FetchCheckpoint()) {
      feed->requested = false;
      Write(feed, checkpoint);
    }
    return;
  }
  const std::chrono::duration<double> since = now - feed->last_request;
  const uint64_t samples = feed->stream->counts().samples;
  if (since.count() < options_.snapshot_every_s || samples == feed->kept_samples) return;
  feed->last_request = now;
  feed->kept_samples = samples;
  feed->requested = true;
  feed->stream->RequestCheckpoint();
}

bool Daemon::Write(Feed* feed, Checkpoint* checkpoint) {
  try {
    state_->Write(feed->config.name, checkpoint);
    ++feed->snapshots;
    return true;
  } catch (const Error& e) {
    ++feed->snapshot_errors;
    feed->snapshot_error = e.what();
    return false;
  }
}

void Daemon::Drain() {
  for (auto& feed : feeds_) feed->thread.request_stop();
  for (auto& feed : feeds_) {
    if (feed->thread.joinable()) feed->thread.join();
  }
  for (auto& feed : feeds_) {
    const Stream& stream = *feed->stream;
    const auto steps = [&] { return stream.counts().samples + stream.counts().outputs; };
    uint64_t before;
    do {  // as long as it gets on
      before = steps();
    } while (!WaitUntil(steady_clock::now() + kDrain, [&] {
      return stream.idle() && stream.published();
    }) && (steps() > before || stream.stepping()));
    if (!stream.idle() || !stream.published()) {
      spdlog::error("{}: expected to step what waits, got no step within {} s and samples left",
                    feed->config.name, kDrain.count());
      feed->failed = true;
    }
    if (feed->ended && !feed->failed && stream.start_position() > 0 &&
        stream.counts().samples == 0 && feed->config.source.type == SourceConfig::Type::replay) {
      spdlog::warn("{}: {} was already played to its end; remove {}/{}.a and .b to play it again",
                   feed->config.name, feed->config.source.file, config_.state_dir,
                   feed->config.name);
    }
  }
  if (state_) {
    const auto last = steady_clock::now() + kFinalState;
    for (auto& feed : feeds_) {
      if (feed->stream->counts().samples == 0) continue;
      feed->stream->RequestCheckpoint();
      Checkpoint* checkpoint = nullptr;
      WaitUntil(last, [&] { return (checkpoint = feed->stream->FetchCheckpoint()) != nullptr; });
      if (checkpoint && Write(feed.get(), checkpoint)) continue;
      spdlog::error(
          "{}: expected to write the last snapshot, got {}; the next start goes on from "
          "an older one",
          feed->config.name, checkpoint ? feed->snapshot_error : "none from the stream in time");
      feed->reported_errors = feed->snapshot_errors;
      feed->failed = true;
    }
  }
  for (auto& loop : loops_) loop->Stop();
  publisher_->Stop();
}

void Daemon::WriteSummary() const {
  std::vector<StreamSummary> streams;
  for (const auto& feed : feeds_) {
    streams.push_back({feed->stream.get(), feed->snapshots, feed->snapshot_errors});
  }
  try {
    xstd::WriteSummary(options_.summary, streams);
  } catch (const Error& e) {
    spdlog::error("{}", e.what());
  }
}

}  // namespace xstd
