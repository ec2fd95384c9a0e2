// Many streams of one model, stepped together.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "sdk/model.h"
#include "sdk/session.h"

namespace xst {

// Up to `capacity` streams, each in a lane of its own: attach() gives one, detach() frees it. A
// lane's snapshots and those of a Session are the same bytes. Move-only; one thread at a time.
// Whatever a lane holds never touches another: not its values, not its reset, not its errors.
//
// On the CPU a lane's results are those of a Session bit for bit, whatever the capacity and the
// mask; weights are read once for several lanes, and after creation step() allocates nothing. On a
// GPU they do not depend on what other lanes hold, but on how many there are: on the capacity, and
// on the last active lane (rounded up to a power of two), which decide the kernels. Against a
// Session they agree within the model's tolerance.
class Lanes {
 public:
  // Throws Error{out_of_memory, device_failed, invalid_argument} (a capacity of 0).
  Lanes(std::shared_ptr<const Model> model, uint32_t capacity);
  ~Lanes();
  Lanes(Lanes&&) noexcept;
  Lanes& operator=(Lanes&&) noexcept;

  uint32_t capacity() const noexcept;
  uint32_t attached() const noexcept;  // lanes in use
  bool attached(uint32_t lane) const noexcept;
  // The lowest free lane with a fresh stream in it; nothing if all are in use or the device failed.
  std::optional<uint32_t> attach() noexcept;
  // invalid_argument for a lane that is not attached, here and below.
  Status detach(uint32_t lane) noexcept;

  // One step of the lanes whose `mask` [capacity] is not 0; each must be attached. `in`
  // [capacity][input_width] and `out` [capacity][output_width]: rows of other lanes are not
  // touched. As Session::step; held if a value of any lane was replaced (quality(lane) tells).
  // Errors, before anything has changed: shape_mismatch, invalid_argument (a lane that is not
  // attached, a token out of range); device_failed.
  Status step(std::span<const uint8_t> mask, std::span<const float> in,
              std::span<float> out) noexcept;
  // The same for token models, `tokens` [capacity].
  Status step(std::span<const uint8_t> mask, std::span<const int64_t> tokens,
              std::span<float> out) noexcept;

  // One step of one lane, in [input_width] to out [output_width]; on the CPU as fast as a
  // Session's.
  Status step(uint32_t lane, std::span<const float> in, std::span<float> out) noexcept;

  // T steps of those lanes, as Session::forward: in [capacity][T][input_width], out
  // [capacity][T][output_width], T = out.size() / (capacity output_width). Allocates.
  Status forward(std::span<const uint8_t> mask, std::span<const float> in,
                 std::span<float> out) noexcept;
  // The same for token models, tokens [capacity][T].
  Status forward(std::span<const uint8_t> mask, std::span<const int64_t> tokens,
                 std::span<float> out) noexcept;

  // Of one attached lane, as the Session's; 0 of a lane that is not.
  uint32_t quality(uint32_t lane) const noexcept;
  uint64_t steps(uint32_t lane) const noexcept;
  Status reset(uint32_t lane) noexcept;
  std::vector<std::byte> save(uint32_t lane) const;
  Status save(uint32_t lane, std::span<std::byte> out) const noexcept;
  Status load(uint32_t lane, std::span<const std::byte> snapshot, const LoadOptions& options,
              Fault* fault) noexcept;
  void load(uint32_t lane, std::span<const std::byte> snapshot, const LoadOptions& options = {});

  const std::shared_ptr<const Model>& model() const noexcept;

 private:
  struct Streams;
  std::unique_ptr<Streams> streams_;
};

}  // namespace xst
