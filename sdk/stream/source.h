// Where samples come from and where outputs go. Implementations live beside their transport.
#pragma once

#include <cstdint>
#include <span>
#include <stop_token>
#include <string>

#include "sdk/stream/sample.h"

namespace xst::stream {

class Stream;

// What a source lost or refused before it became a sample. Of those that know.
struct SourceCounts {
  uint64_t lost = 0;        // messages that found no room on their way
  uint64_t refused = 0;     // messages of others than those who may send
  uint64_t reconnects = 0;  // a device or a peer was gone and came back
};

class Source {
 public:
  virtual ~Source() = default;

  // Offers samples to `stream` until the source ends or `stop` is requested; what had arrived by
  // then is still offered, within a bound. Runs once, on a thread of its own. Throws Error if the
  // source fails for good; a malformed message is counted (Stream::Reject), never fatal.
  virtual void Run(Stream& stream, std::stop_token stop) = 0;

  // The address others connect to, as bound; empty without one.
  virtual std::string endpoint() const { return {}; }

  // Any thread.
  virtual SourceCounts counts() const { return {}; }
};

class Sink {
 public:
  virtual ~Sink() = default;

  // `y`: the outputs, `x`: the sample as it arrived (NaN where missing). Called by one thread; must
  // not wait for a reader.
  virtual void Write(const Stream& stream, const OutputHead& head, std::span<const float> y,
                     std::span<const float> x) = 0;

  // Between outputs, about once a millisecond; same thread.
  virtual void Idle() {}

  // The stream gives no more outputs and may soon be gone. Never during one of the above.
  virtual void Forget(const Stream&) {}
};

}  // namespace xst::stream
