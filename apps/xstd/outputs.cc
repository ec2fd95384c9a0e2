#include "apps/xstd/outputs.h"

#include <spdlog/spdlog.h>

#include "sdk/stream/stream.h"

namespace xstd {

using xst::stream::Alarms;
using xst::stream::Stream;
using xst::zeromq::CurveServer;

std::unique_ptr<Alarms> MakeAlarms(const StreamConfig& config, const Stream& stream) {
  return std::make_unique<Alarms>(stream, config.alarms);
}

Outputs::Outputs(zmq::context_t& context, const DaemonConfig& config, const CurveServer* curve,
                 const std::vector<Stream*>& streams)
    : pub_(context, config.publish, curve) {
  std::vector<Alarms*> alarms;
  for (size_t i = 0; i < streams.size(); ++i) {
    if (config.streams[i].alarms.empty()) continue;
    alarms_.push_back(MakeAlarms(config.streams[i], *streams[i]));
    alarms.push_back(alarms_.back().get());
  }
  if (alarms.empty()) return;
  alarm_sink_ = std::make_unique<xst::stream::AlarmSink>(
      std::move(alarms), [this](const auto& stream, const auto& alarm, const auto& head, float v) {
        pub_.WriteAlarm(stream, alarm, head, v);
      });
}

std::vector<xst::stream::Sink*> Outputs::sinks() {
  std::vector<xst::stream::Sink*> sinks = {&pub_};
  if (alarm_sink_) sinks.push_back(alarm_sink_.get());
  return sinks;
}

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
