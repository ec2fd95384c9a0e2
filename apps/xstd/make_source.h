// The source that a configuration describes.
#pragma once

#include <memory>
#include <zmq.hpp>

#include "apps/xstd/config.h"
#include "sdk/stream/sample_log.h"
#include "sdk/stream/source.h"
#include "sdk/stream/stream.h"

namespace xstd {

// Binds or connects. `log`: of an acked source, else null. Throws xst::Error.
std::unique_ptr<xst::stream::Source> MakeSource(const SourceConfig& config,
                                                const xst::stream::Stream& stream,
                                                zmq::context_t* context,
                                                xst::stream::SampleLog* log);

}  // namespace xstd
