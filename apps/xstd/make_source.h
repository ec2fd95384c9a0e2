// The source that a configuration describes.
#pragma once

#include <memory>
#include <zmq.hpp>

#include "apps/xstd/config.h"
#include "sdk/stream/source.h"
#include "sdk/stream/stream.h"

namespace xstd {

// Binds or connects. Throws xst::Error.
std::unique_ptr<xst::stream::Source> MakeSource(const SourceConfig& config,
                                                const xst::stream::Stream& stream,
                                                zmq::context_t* context);

}  // namespace xstd
