// What is published beside the outputs, as JSON: alarms and heartbeats (specification stream.md
// section 4).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace xst::formats {

// An alarm that was raised or cleared; the time, seq and epoch are those of the output that did it.
struct AlarmRecord {
  double timestamp = 0;
  uint64_t seq = 0, epoch = 0;
  std::string name, output;
  float value = 0;
  bool active = false;
};

// Where the streams stand: what a subscriber should have had by now.
struct Heartbeat {
  struct Stream {
    std::string name;
    uint64_t epoch = 0, seq = 0;  // of the last record
  };
  double timestamp = 0;  // seconds since 1970
  bool bye = false;      // the last one: the daemon stops
  std::vector<Stream> streams;
};

std::string WriteAlarm(const AlarmRecord& alarm);
std::string WriteHeartbeat(const Heartbeat& heartbeat);

// False for a payload that is none; nothing throws.
bool ParseAlarm(const char* payload, size_t size, AlarmRecord* out);
bool ParseHeartbeat(const char* payload, size_t size, Heartbeat* out);

}  // namespace xst::formats
