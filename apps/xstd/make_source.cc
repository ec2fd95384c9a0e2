#include "apps/xstd/make_source.h"

#include "apps/xstd/sources.h"
#include "sdk/zmq/message_source.h"

namespace xstd {

using xst::stream::Stream;

std::unique_ptr<xst::stream::Source> MakeSource(const SourceConfig& config, const Stream& stream,
                                                zmq::context_t* context,
                                                const xst::zeromq::CurveServer* curve) {
  switch (config.type) {
    case SourceConfig::Type::replay:
      return std::make_unique<ReplaySource>(config.file, config.speed, stream.info());
    case SourceConfig::Type::pull:
      return xst::zeromq::MessageSource::Pull(*context, config.endpoint, curve);
    case SourceConfig::Type::sub:
      if (config.server_key.empty() || !curve) {
        return xst::zeromq::MessageSource::Sub(*context, config.endpoint, config.topic);
      }
      return xst::zeromq::MessageSource::Sub(*context, config.endpoint, config.topic,
                                             xst::zeromq::ReadPublicKey(config.server_key),
                                             curve->keys());
    case SourceConfig::Type::stdin_lines:
      break;
  }
  return std::make_unique<StdinSource>();
}

}  // namespace xstd
