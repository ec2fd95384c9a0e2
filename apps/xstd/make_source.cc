#include "apps/xstd/make_source.h"

#include "apps/xstd/sources.h"
#include "sdk/zmq/acked_source.h"
#include "sdk/zmq/message_source.h"

namespace xstd {

using xst::stream::Stream;

std::unique_ptr<xst::stream::Source> MakeSource(const SourceConfig& config, const Stream& stream,
                                                zmq::context_t* context,
                                                xst::stream::SampleLog* log) {
  switch (config.type) {
    case SourceConfig::Type::replay:
      return std::make_unique<ReplaySource>(config.file, config.speed, stream.info());
    case SourceConfig::Type::pull:
      return xst::zeromq::MessageSource::Pull(*context, config.endpoint);
    case SourceConfig::Type::sub:
      return xst::zeromq::MessageSource::Sub(*context, config.endpoint, config.topic);
    case SourceConfig::Type::acked:
      return std::make_unique<xst::zeromq::AckedSource>(*context, config.endpoint, log);
    case SourceConfig::Type::stdin_lines:
      break;
  }
  return std::make_unique<StdinSource>();
}

}  // namespace xstd
