#include "apps/xstd/make_source.h"

#include "apps/xstd/mqtt_source.h"
#include "apps/xstd/serial_source.h"
#include "apps/xstd/sources.h"
#include "apps/xstd/udp_source.h"
#include "sdk/zmq/acked_source.h"
#include "sdk/zmq/message_source.h"

namespace xstd {

using xst::stream::Stream;

std::unique_ptr<xst::stream::Source> MakeSource(const SourceConfig& config, const Stream& stream,
                                                zmq::context_t* context,
                                                const xst::zeromq::CurveServer* curve,
                                                xst::stream::SampleLog* log) {
  switch (config.type) {
    case SourceConfig::Type::replay:
      return std::make_unique<ReplaySource>(config.file, config.speed, stream.info());
    case SourceConfig::Type::pull:
      return xst::zeromq::MessageSource::Pull(*context, config.endpoint, curve);
    case SourceConfig::Type::sub:
      if (!config.server_key.empty() && !curve) {
        throw xst::Error(xst::Status::invalid_config,
                         "source.server_key: expected a curve section since the start, got none");
      }
      if (config.server_key.empty()) {
        return xst::zeromq::MessageSource::Sub(*context, config.endpoint, config.topic);
      }
      return xst::zeromq::MessageSource::Sub(*context, config.endpoint, config.topic,
                                             xst::zeromq::ReadPublicKey(config.server_key),
                                             curve->keys());
    case SourceConfig::Type::acked:
      return std::make_unique<xst::zeromq::AckedSource>(*context, config.endpoint, log, curve);
    case SourceConfig::Type::udp:
      return std::make_unique<UdpSource>(config.endpoint, config.allow);
    case SourceConfig::Type::serial:
      return std::make_unique<SerialSource>(config.device, config.baud);
    case SourceConfig::Type::mqtt:
      return std::make_unique<MqttSource>(config, stream.options().name);
    case SourceConfig::Type::stdin_lines:
      break;
  }
  return std::make_unique<StdinSource>();
}

}  // namespace xstd
