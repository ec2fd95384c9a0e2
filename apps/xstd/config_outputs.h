// What the configuration says of outputs, alarms and keys.
#pragma once

#include <string>
#include <vector>

#include "formats/config_reader.h"
#include "sdk/stream/alarms.h"
#include "sdk/zmq/pub_sink.h"

namespace xstd {

// Keys of every TCP socket that xstd binds; empty: none.
struct CurveConfig {
  std::string secret;   // a file of `xst keygen`
  std::string clients;  // a file of public keys, or a folder of *.public files
  bool operator==(const CurveConfig&) const = default;
};

// Each reads its key of `map`, if it is there. `folder`: what relative paths are relative to.
// Throw xst::Error.
void ReadPublish(xst::formats::MapReader* map, xst::zeromq::PubOptions* publish);
void ReadCurve(xst::formats::MapReader* map, const std::string& folder, CurveConfig* curve);
void ReadAlarms(xst::formats::MapReader* map, std::vector<xst::stream::AlarmRule>* alarms);

}  // namespace xstd
