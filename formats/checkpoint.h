// Where a live stream stands between two samples, as bytes: the session's snapshot and what the
// stream needs beside it.
//
// Layout, little-endian: magic "XSTK", u16 major, u16 minor, u64 generation, u64 epoch, u64 seq,
// u64 position, u32 clock flags (1 started, 2 has_t, 4 has_seq), f64 clock t, u64 clock seq,
// u32 bytes of the name, u64 bytes of the session, name, session, u64 xxh3 of all before.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "formats/status.h"

namespace xst::formats {

// The last accepted sample of a stream.
struct ClockState {
  bool started = false;
  bool has_t = false, has_seq = false;  // it carried a source time, a sequence number
  double t = 0;                         // seconds
  uint64_t seq = 0;
};

struct Checkpoint {
  uint64_t generation = 0;      // of two copies the higher is the newer
  uint64_t epoch = 0, seq = 0;  // of the next output
  uint64_t position = 0;        // where the source goes on; its meaning is the source's
  ClockState clock;
  std::string name;                // of the stream
  std::vector<std::byte> session;  // Session::save()
};

// Replaces the content of `out`.
void WriteCheckpoint(const Checkpoint& checkpoint, std::vector<std::byte>* out);

// Checks size, magic, version and checksum. `what` names the bytes in messages.
Status ReadCheckpoint(std::span<const std::byte> bytes, const std::string& what, Checkpoint* out,
                      Fault* fault);

}  // namespace xst::formats
