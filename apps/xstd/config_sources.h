// The parts of a stream's configuration that say where its samples come from and when.
#pragma once

#include <string>

#include "apps/xstd/config.h"
#include "formats/config_reader.h"

namespace xstd {

// udp, serial, mqtt: the keys beside `type`. Throw xst::Error with line and column.
bool IsDeviceSource(SourceConfig::Type type);
void ReadDeviceSource(xst::formats::MapReader* map, const std::string& folder,
                      SourceConfig* source);

// `clock: {order_window, resample, stale_s}` of a stream.
ClockRules ReadClock(xst::formats::MapReader* stream);

// Whether a full ring makes the sender wait by default; the others cannot wait.
bool WaitsForRoom(SourceConfig::Type type);

// "mqtt://HOST[:PORT]"; port 1883, with TLS 8883. False: not one.
bool ParseMqttEndpoint(const std::string& text, bool tls, std::string* host, int* port);
bool IsLoopbackHost(const std::string& host);

}  // namespace xstd
