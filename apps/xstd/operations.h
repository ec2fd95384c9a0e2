// How the daemon is watched and watched over: HTTP port, status, service manager, watchdog.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "apps/xstd/config.h"
#include "apps/xstd/feed.h"
#include "apps/xstd/live_sink.h"
#include "apps/xstd/service.h"
#include "apps/xstd/status_board.h"
#include "apps/xstd/web.h"

namespace xstd {

// Used by the control thread alone, but for sink().
class Operations {
 public:
  using Feeds = std::vector<std::unique_ptr<Feed>>;

  // Binds the HTTP port if there is one. Throws xst::Error.
  explicit Operations(const DaemonConfig& config);
  ~Operations();

  // Takes every output for the live page; null without an HTTP port.
  xst::stream::Sink* sink() { return web_ ? &live_ : nullptr; }
  // " http=ADDRESS" for the ready line; empty without an HTTP port.
  std::string endpoint() const { return web_ ? " http=" + web_->endpoint() : ""; }

  // Serves from now on; the service is ready. `fill` adds what feeds do not know, at every refresh.
  using Fill = std::function<void(DaemonStatus*)>;
  void Start(const Feeds& feeds, Fill fill);
  // At every tick: the status a few times a second, the watchdog while steps move.
  void Tick(const Feeds& feeds);
  void Reloading() { service_.Reloading(); }
  void Reloaded() { service_.Ready(); }
  void Stopping();

 private:
  using Time = std::chrono::steady_clock::time_point;
  void Refresh(const Feeds& feeds);
  void FeedWatchdog(const std::vector<Progress>& progress, Time now);
  void TellManager(const Feeds& feeds, Time now);

  ServiceManager service_;
  StepWatch watch_;
  LiveSink live_;
  StatusBoard board_;
  std::unique_ptr<Web> web_;
  Fill fill_;
  double start_time_ = 0;
  const Time start_ = std::chrono::steady_clock::now();
  Time last_refresh_{}, last_alive_{}, last_fed_{}, last_told_{};
  std::set<std::string> names_;
};

}  // namespace xstd
