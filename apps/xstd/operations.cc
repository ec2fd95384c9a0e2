#include "apps/xstd/operations.h"

#include <set>
#include <utility>

#include "apps/xstd/log.h"
#include "sdk/stream/sample.h"

namespace xstd {

using std::chrono::steady_clock;
using xst::stream::Stream;

namespace {

constexpr std::chrono::milliseconds kRefreshEvery(250);
constexpr std::chrono::seconds kAliveWithin(10), kTellEvery(5);

Progress ProgressOf(const Feed& feed) {
  const Stream& stream = feed.stream();
  const auto c = stream.counts();
  Progress progress;
  progress.name = feed.name();
  progress.moved = c.samples + c.outputs + c.published;  // not the dropped: they need no step
  progress.waits = !stream.idle() || !stream.published();
  return progress;
}

StreamStatus StatusOf(const Feed& feed, const LiveSink& live) {
  const Stream& stream = feed.stream();
  StreamStatus s;
  s.name = feed.name();
  s.model = feed.config().model;
  s.source = kSourceTypes.begin()[static_cast<size_t>(feed.config().source.type)];
  s.endpoint = feed.endpoint();
  DescribeModel(stream.info(), stream.x_names(), stream.y_names(), &s);
  const xst::ModelInfo& now = feed.model()->info();  // since a reload
  s.device = now.device;
  s.isa = now.isa;
  s.arch_hash = now.arch_hash;
  s.source_hash = now.source_hash;
  s.file_hash = now.file_hash;
  s.ended = feed.ended();
  s.failed = feed.failed();
  s.queued = stream.queued();
  s.queue = stream.options().queue;
  s.counts = stream.counts();
  s.snapshots = feed.snapshots();
  s.snapshot_errors = feed.snapshot_errors();
  s.log_errors = feed.log_errors();
  s.source_counts = feed.source_counts();
  s.stale = stream.stale();
  s.step = Durations(stream.step_time());
  s.latency = Durations(stream.latency());
  if (const auto last = live.last(s.name)) {
    s.has_last = true;
    s.last_t = last->t;
    s.seq = last->seq;
    s.epoch = last->epoch;
    s.quality = last->quality;
  }
  return s;
}

}  // namespace

Operations::Operations(const DaemonConfig& config) : start_time_(xst::stream::WallSeconds()) {
  if (config.http) web_ = std::make_unique<Web>(*config.http, &board_, &live_);
}

Operations::~Operations() = default;

void Operations::Start(const Feeds& feeds, Fill fill) {
  fill_ = std::move(fill);
  Refresh(feeds);
  if (web_) web_->Start();
  service_.Ready();
}

void Operations::Tick(const Feeds& feeds) {
  const auto now = steady_clock::now();
  if (now - last_refresh_ >= kRefreshEvery) Refresh(feeds);
}

void Operations::FeedWatchdog(const std::vector<Progress>& progress, steady_clock::time_point now) {
  if (!watch_.Alive(progress)) return;
  last_alive_ = now;
  const auto period = service_.watchdog();
  if (!period || now - last_fed_ < *period / 4) return;
  service_.FeedWatchdog();
  last_fed_ = now;
}

void Operations::TellManager(const Feeds& feeds, steady_clock::time_point now) {
  if (!service_.present() || now - last_told_ < kTellEvery) return;
  last_told_ = now;
  uint64_t samples = 0, dropped = 0;
  for (const auto& feed : feeds) {
    const auto counts = feed->stream().counts();
    samples += counts.samples;
    dropped += counts.dropped;
  }
  service_.Status(std::to_string(feeds.size()) + (feeds.size() == 1 ? " stream, " : " streams, ") +
                  std::to_string(samples) + " samples, " + std::to_string(dropped) + " dropped");
}

void Operations::Refresh(const Feeds& feeds) {
  const auto now = steady_clock::now();
  last_refresh_ = now;
  std::vector<Progress> progress;
  std::set<std::string> names;
  for (const auto& feed : feeds) {
    progress.push_back(ProgressOf(*feed));
    names.insert(feed->name());
  }
  FeedWatchdog(progress, now);
  TellManager(feeds, now);
  if (names != names_) {
    names_ = names;
    SetLogStreams(names);
    live_.Keep(names);
  }
  if (!web_) return;
  DaemonStatus status;
  status.version = XSTD_VERSION;
  status.taken = now;
  status.start_time = start_time_;
  status.uptime_s = std::chrono::duration<double>(now - start_).count();
  status.alive = now - last_alive_ < kAliveWithin;
  MeasureProcess(&status);
  for (const auto& feed : feeds) status.streams.push_back(StatusOf(*feed, live_));
  fill_(&status);
  board_.Set(std::move(status));
}

void Operations::Stopping() { service_.Stopping(); }

}  // namespace xstd
