#include "apps/xstd/daemon.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <map>
#include <utility>

#include "apps/xstd/sources.h"
#include "apps/xstd/summary.h"

namespace xstd {

using std::chrono::steady_clock;
using xst::Error;
using xst::stream::Stream;

namespace {

constexpr std::chrono::milliseconds kTick(20);
constexpr std::chrono::seconds kFinalState(10);

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

// Errors of one stream say which.
template <class F>
auto Named(const std::string& stream, F make) {
  try {
    return make();
  } catch (const Error& e) {
    throw Error(e.code(), "stream " + stream + ": " + e.what());
  }
}

bool SignalWithin(const sigset_t& signals, std::chrono::milliseconds time) {
  timespec wait{};
  wait.tv_nsec = std::chrono::nanoseconds(time).count();
  return sigtimedwait(&signals, nullptr, &wait) > 0;
}

}  // namespace

void CheckModels(const DaemonConfig& config) {
  Models models;
  for (const StreamConfig& c : config.streams) {
    Named(c.name, [&] {
      const auto stream = MakeStream(c, models.Open(c));
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
    feeds_.push_back(
        Named(c.name, [&] { return std::make_unique<Feed>(c, models.Open(c), state_.get()); }));
    streams.push_back(&feeds_.back()->stream());
  }
  sink_ = std::make_unique<xst::zeromq::PubSink>(context_, config_.publish_endpoint);
  // Last: a bound source already takes samples, and nothing may fail with them in hand.
  for (auto& feed : feeds_) Named(feed->name(), [&] { feed->OpenSource(&context_); });
  MakeLoops(streams);
  publisher_ = std::make_unique<xst::stream::Publisher>(
      streams, std::vector<xst::stream::Sink*>{sink_.get()});
}

Daemon::~Daemon() {
  for (auto& feed : feeds_) feed->RequestStop();
  for (auto& feed : feeds_) feed->Join();  // while the step still goes on
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
  while (steady_clock::now() < end && !(sink_->PollSubscribed() && steady_clock::now() >= others)) {
    if (SignalWithin(signals, kTick)) return false;
  }
  return true;
}

int Daemon::Run(const sigset_t& signals) {
  for (auto& loop : loops_) loop->Start();
  for (auto& feed : feeds_) Named(feed->name(), [&] { feed->KeepFirst(); });
  std::string ready = "ready publish=" + sink_->endpoint();
  for (const auto& feed : feeds_) {
    const std::string endpoint = feed->endpoint();
    if (!endpoint.empty()) ready += " " + feed->name() + "=" + endpoint;
  }
  std::fprintf(stderr, "%s\n", ready.c_str());
  const bool go_on = WaitForSubscriber(signals);
  publisher_->Start();
  for (auto& feed : feeds_) feed->Start();  // also after a stop: what was pushed meanwhile is taken
  while (go_on && !AllEnded() && !SignalWithin(signals, kTick)) Tick();
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

void Daemon::Tick() {
  for (auto& feed : feeds_) {
    feed->ReportAtTimes();
    feed->Keep(options_.snapshot_every_s);
  }
}

void Daemon::Drain() {
  for (auto& feed : feeds_) feed->RequestStop();
  for (auto& feed : feeds_) feed->Join();
  for (auto& feed : feeds_) feed->Drain();
  const auto last = steady_clock::now() + kFinalState;
  for (auto& feed : feeds_) feed->KeepLast(last);
  for (auto& loop : loops_) loop->Stop();
  publisher_->Stop();
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
