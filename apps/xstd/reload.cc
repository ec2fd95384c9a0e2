// Going over to a configuration that was read again, while streams go on: models are opened and
// verified on a side thread; what fails there changes nothing.
#include <spdlog/spdlog.h>

#include <algorithm>
#include <chrono>
#include <exception>
#include <string>
#include <thread>
#include <utility>

#include "apps/xstd/daemon.h"
#include "apps/xstd/sources.h"

namespace xstd {

using std::chrono::steady_clock;
using xst::stream::Checkpoint;
using xst::stream::Stepper;
using xst::stream::Stream;

namespace {

constexpr std::chrono::seconds kLastState(10), kBind(2);
constexpr std::chrono::milliseconds kBindAgain(20);

bool OnlyModelDiffers(StreamConfig a, StreamConfig b) {
  a.model = b.model;
  a.device = b.device;
  return a == b;
}

// Whether a position and a sequence number of one mean the same in the other.
bool SamePlace(const SourceConfig& a, const SourceConfig& b) {
  return a.type == b.type && a.file == b.file;
}

// Keys of what differs and cannot change while the daemon runs.
std::string NeedRestart(const DaemonConfig& now, const DaemonConfig& next) {
  std::string keys;
  const auto add = [&](bool differs, const char* key) {
    if (differs) keys += (keys.empty() ? "" : ", ") + std::string(key);
  };
  add(now.publish != next.publish, "publish");
  add(now.curve != next.curve, "curve");
  add(now.http != next.http, "http");
  add(now.log != next.log, "log");
  add(now.state_dir != next.state_dir, "state_dir");
  add(now.realtime != next.realtime, "realtime");
  return keys;
}

}  // namespace

struct Daemon::Change {
  const StreamConfig* config = nullptr;  // null: the stream goes
  Feed* former = nullptr;                // null: it comes
  // One of these two, or neither. It comes or takes the place of `former`:
  std::unique_ptr<Feed> fresh;
  // The former's model is replaced, stepped by `stepper` (null: one of its batch):
  std::shared_ptr<const xst::Model> model;
  std::unique_ptr<Stepper> stepper;

  bool renewed = false;     // with a fresh state
  std::string error;        // why it was not; empty: it was
  Feed* entered = nullptr;  // what `fresh` was
  bool restored = false;    // from disk, where its former could take nothing over
  bool remade = false;      // it took a place
  SourceConfig source;      // that one's
};

void Daemon::RequestReload() {
  if (preparing_.valid()) {
    reload_again_ = true;
    return;
  }
  Reloading(true);
  try {
    if (curve_) curve_->ReloadClients();  // whatever becomes of the rest
    DaemonConfig config = ReadConfig(options_.config_path);
    preparing_ = std::async(std::launch::async, [this, config = std::move(config)] {
      Prepared next{config, ModelSet::Open(config, &models_)};
      next.models.Decide(&models_);
      return next;
    });
  } catch (const std::exception& e) {
    ReloadFailed(e.what());
    Reloading(false);
  }
}

void Daemon::PollReload() {
  if (!preparing_.valid() ||
      preparing_.wait_for(std::chrono::seconds(0)) != std::future_status::ready) {
    return;
  }
  try {
    Apply(preparing_.get());
  } catch (const std::exception& e) {
    ReloadFailed(e.what());
  }
  Reloading(false);
  if (std::exchange(reload_again_, false)) RequestReload();
}

void Daemon::ReloadFailed(const char* why) {
  ++reload_errors_;
  spdlog::error("reload refused, everything goes on as before: {}", why);
}

void Daemon::Reloading(bool begins) {
  if (begins) {
    spdlog::info("reload of {}", options_.config_path);
    operations_.Reloading();
  } else {
    operations_.Reloaded();
  }
}

// What may fail for want of a good file or of memory fails here.
std::vector<Daemon::Change> Daemon::Changes(const Prepared& next) {
  std::vector<Change> changes;
  for (const StreamConfig& config : next.config.streams) {
    const auto& model = next.models.Of(config);
    Change change;
    change.config = &config;
    change.former = Find(config.name);
    if (!change.former) {
      change.fresh = std::make_unique<Feed>(config, model, state_.get());
    } else if (!OnlyModelDiffers(change.former->config(), config) || !change.former->has_source()) {
      change.restored = change.former->keeps_nothing();
      change.fresh = std::make_unique<Feed>(config, model, state_.get(), change.restored);
    } else if (change.former->model() != model) {
      if (!next.models.BatchOf(config, model)) change.stepper = xst::stream::MakeStepper(model);
      const auto& info = change.stepper ? change.stepper->info() : model->info();
      if (change.former->stream().Fits(info)) {
        change.model = model;
      } else {
        change.stepper.reset();
        change.fresh = std::make_unique<Feed>(config, model, state_.get(), false);
      }
    }
    if (config.source.type == SourceConfig::Type::acked && !state_) {
      throw xst::Error(
          xst::Status::invalid_config,
          "stream " + config.name + ": expected a state_dir since the start, got none");
    }
    if (config.source.type == SourceConfig::Type::replay && change.fresh) {
      ReplaySource(config.source.file, config.source.speed, change.fresh->stream().info());
    }
    MakeAlarms(config, change.fresh ? change.fresh->stream() : change.former->stream());
    change.remade = change.former && change.fresh;
    if (change.remade) change.source = change.former->config().source;
    changes.push_back(std::move(change));
  }
  for (const auto& feed : feeds_) {
    const bool stays = std::any_of(changes.begin(), changes.end(),
                                   [&](const Change& c) { return c.former == feed.get(); });
    if (stays) continue;
    changes.emplace_back();
    changes.back().former = feed.get();
  }
  return changes;
}

void Daemon::Apply(Prepared next) {
  const std::string keys = NeedRestart(config_, next.config);
  if (!keys.empty()) spdlog::warn("{}: needs a restart to change: {}", options_.config_path, keys);
  std::vector<Change> changes = Changes(next);
  Leave(changes);
  const double pause_ms = Switch(&changes, next.models);
  size_t swapped = 0;
  for (Change& change : changes) {
    Enter(&change);
    if (!change.model) continue;
    const std::string& name = change.config->name;
    if (!change.error.empty()) {
      ++reload_errors_;
      spdlog::error("{}: keeps its former model: {}", name, change.error);
      continue;
    }
    ++swapped;
    if (change.renewed) {
      spdlog::warn("{}: another architecture: a fresh state behind up to {} inputs again", name,
                   change.former->stream().options().replay);
    }
  }
  config_.streams = std::move(next.config.streams);
  models_ = std::move(next.models);
  ++reloads_;
  spdlog::info("reloaded: {} of {} streams have another model; no step for {:.3f} ms", swapped,
               feeds_.size(), pause_ms);
}

// Streams that go, or that another takes the place of, step what their sources gave.
void Daemon::Leave(const std::vector<Change>& changes) {
  const auto leaves = [](const Change& c) { return c.former && (!c.config || c.fresh); };
  for (const Change& c : changes) {
    if (leaves(c)) c.former->RequestStop();
  }
  const auto tick = [this] { operations_.Tick(feeds_); };
  for (const Change& c : changes) {
    if (!leaves(c)) continue;
    c.former->Join(tick);
    c.former->Drain(steady_clock::now() + Feed::kLongestDrain, tick);
    c.former->CloseSource();
    c.former->Report();
  }
  for (const Change& c : changes) {
    if (!leaves(c) || c.restored) continue;
    tick();
    const auto last = steady_clock::now() + kLastState;
    if (!c.config) {
      c.former->KeepLast(last);
      continue;
    }
    Checkpoint* checkpoint = c.former->LastCheckpoint(last);
    const bool same_place = SamePlace(c.config->source, c.source);
    if (checkpoint && !same_place) {
      checkpoint->position = 0;
      checkpoint->clock = {};
    }
    const Stream& before = c.former->stream();
    const bool same_inputs = before.x_names() == c.fresh->stream().x_names();
    try {
      if (!checkpoint) throw xst::Error(xst::Status::io_error, "no state of it in time");
      c.fresh->TakeOver(*checkpoint, same_inputs ? before.history() : xst::stream::History(0, 0),
                        same_place);
    } catch (const std::exception& e) {
      ++reload_errors_;
      spdlog::error("{}: stands still until the next reload or start, its state stays on disk: {}",
                    c.config->name, e.what());
      c.fresh->KeepNothing();
    }
  }
}

// Returns for how many milliseconds nothing was stepped.
double Daemon::Switch(std::vector<Change>* changes, const ModelSet& models) {
  std::vector<std::unique_ptr<Feed>> former = std::move(feeds_);
  feeds_.clear();
  for (Change& c : *changes) {
    if (c.fresh) {
      c.entered = c.fresh.get();
      feeds_.push_back(std::move(c.fresh));
    } else if (c.config) {
      feeds_.push_back(std::move(*std::find_if(
          former.begin(), former.end(), [&](const auto& feed) { return feed.get() == c.former; })));
    }
  }
  publisher_->SetStreams(Streams());  // what those that go gave is published
  outputs_->SetAlarms(feeds_);

  for (auto& [stream, loop] : forecast_loops_) loop->Pause();  // first: a forecast takes long
  const auto begin = steady_clock::now();
  loop_->Pause();
  for (Change& c : *changes) {
    if (!c.model) continue;
    try {
      if (!c.stepper) c.stepper = models.BatchOf(*c.config, c.model)->MakeStepper();
      if (!c.stepper) c.stepper = xst::stream::MakeStepper(c.model);
      c.renewed = !c.former->Swap(*c.config, c.model, std::move(c.stepper));
    } catch (const std::exception& e) {
      c.error = e.what();
    }
  }
  for (const auto& feed : former) {
    if (feed) forecast_loops_.erase(&feed->stream());
  }
  MakeLoops();
  former.clear();  // their lanes are free now
  std::string alone;
  try {
    JoinBatches(models);
  } catch (const std::exception& e) {
    alone = e.what();
  }
  loop_->Resume();
  for (auto& [stream, loop] : forecast_loops_) loop->Resume();
  const auto pause = steady_clock::now() - begin;  // nothing is logged in it: that may take long

  if (!alone.empty()) spdlog::warn("some streams step one by one: {}", alone);
  for (auto& [stream, loop] : forecast_loops_) {
    if (loop->started()) continue;
    try {
      loop->Start();
    } catch (const std::exception& e) {
      ++reload_errors_;
      spdlog::error("{}: is not stepped: {}", stream->options().name, e.what());
    }
  }
  return std::chrono::duration<double, std::milli>(pause).count();
}

// Opens and starts the source of a stream that came or was remade. An address that was closed just
// now may not be free yet.
void Daemon::Enter(Change* change) {
  Feed* const feed = change->entered;
  if (!feed || feed->keeps_nothing()) return;
  const SourceConfig source = change->config->source, former = change->source;
  const auto end = steady_clock::now() + kBind;
  for (;;) {
    try {
      feed->KeepFirst();
      feed->OpenSource(&context_, curve_.get(), source);
      break;
    } catch (const std::exception& e) {
      if (!source.endpoint.empty() && source.endpoint == former.endpoint &&
          steady_clock::now() < end) {
        std::this_thread::sleep_for(kBindAgain);
        continue;
      }
      ++reload_errors_;
      spdlog::error("{}: {}", feed->name(), e.what());
    }
    try {
      if (change->remade && former != source) feed->OpenSource(&context_, curve_.get(), former);
    } catch (const std::exception& e) {
      spdlog::error("{}: {}", feed->name(), e.what());
    }
    spdlog::error("{}: {} until the next reload", feed->name(),
                  feed->has_source() ? "goes on with its former source" : "has no source");
    break;
  }
  if (!feed->endpoint().empty()) spdlog::info("{}: source {}", feed->name(), feed->endpoint());
  feed->Start();
}

}  // namespace xstd
