#include "apps/xstd/outputs.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <utility>

#include "sdk/stream/stream.h"

namespace xstd {

using xst::stream::Alarms;
using xst::stream::Stream;
using xst::zeromq::CurveServer;

std::shared_ptr<Alarms> MakeAlarms(const StreamConfig& config, const Stream& stream) {
  return std::make_shared<Alarms>(stream, config.alarms);
}

Outputs::Outputs(zmq::context_t& context, const DaemonConfig& config, const CurveServer* curve)
    : pub_(context, config.publish, curve),
      alarm_sink_([this](const auto& stream, const auto& alarm, const auto& head, float value) {
        pub_.WriteAlarm(stream, alarm, head, value);
      }) {}

void Outputs::SetAlarms(const std::vector<std::unique_ptr<Feed>>& feeds) {
  std::vector<std::shared_ptr<Alarms>> alarms;
  for (const auto& feed : feeds) {
    if (feed->config().alarms.empty()) continue;
    const auto had = std::find_if(alarms_.begin(), alarms_.end(),
                                  [&](const auto& a) { return &a->stream() == &feed->stream(); });
    alarms.push_back(had != alarms_.end() ? *had : MakeAlarms(feed->config(), feed->stream()));
    if (had != alarms_.end()) continue;
    for (const auto& former : alarms_) {  // of a stream that was remade
      if (former->stream().options().name != feed->name()) continue;
      for (const auto& alarm : alarms.back()->all()) {
        for (const auto& was : former->all()) {
          if (was->rule().name == alarm->rule().name) alarm->Continue(*was);
        }
      }
    }
  }
  alarm_sink_.Set(alarms);
  alarms_ = std::move(alarms);
}

std::vector<xst::stream::Sink*> Outputs::sinks() { return {&pub_, &alarm_sink_}; }

std::string Outputs::Ready() const {
  std::string text = "publish=" + pub_.endpoint();
  if (!pub_.snapshot_endpoint().empty()) text += " snapshot=" + pub_.snapshot_endpoint();
  return text;
}

std::unique_ptr<CurveServer> MakeCurve(zmq::context_t& context, const CurveConfig& config) {
  if (config.secret.empty()) return nullptr;
  auto curve = std::make_unique<CurveServer>(context, config.secret, config.clients);
  spdlog::info("curve: {} client keys in {}", curve->clients(), config.clients);
  return curve;
}

void CheckKeys(const DaemonConfig& config) {
  zmq::context_t context;
  const auto curve = MakeCurve(context, config.curve);
  for (const StreamConfig& stream : config.streams) {
    const std::string& key = stream.source.server_key;
    if (!key.empty()) xst::zeromq::ReadPublicKey(key);
  }
}

void RefusalLog::Report(const CurveServer* curve) {
  constexpr std::chrono::minutes kEvery(1);
  if (!curve || curve->refused() == reported_) return;
  const auto now = std::chrono::steady_clock::now();
  if (reported_ > 0 && now - last_ < kEvery) return;
  last_ = now;
  reported_ = curve->refused();
  spdlog::warn("curve: {} connections refused, their keys are not known; the last: {}", reported_,
               curve->last_refused());
}

}  // namespace xstd
