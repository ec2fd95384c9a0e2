// What a source that acknowledges keeps on disk: every sample, until a checkpoint is behind it.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>

#include "sdk/stream/sample.h"

namespace xst::stream {

// Used by the source's thread.
class SampleLog {
 public:
  virtual ~SampleLog() = default;

  // Hands every kept sample behind `position` to `take`, in order, marked historical, until that
  // returns false. Before the first Commit. Throws Error if the log cannot be read.
  virtual void Replay(
      uint64_t position,
      const std::function<bool(const SampleHead&, std::span<const float>)>& take) = 0;

  // The highest sequence number kept, or stepped before the log began; nothing at first.
  virtual std::optional<uint64_t> last_seq() const = 0;

  // Keeps samples (`x`: the channels of one after the other), waits for the disk and sets each
  // one's position. False: none of them is kept (a full disk); the same call may be tried again.
  virtual bool Commit(std::span<SampleHead> heads, std::span<const float> x) = 0;
};

}  // namespace xst::stream
