// One stream of a model: its state and its step.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "formats/status.h"
#include "sdk/model.h"

namespace xst {

// Quality bits of an output (specification stream.md section 2). `held`, `warming` and `reset` come
// from the Session, the others from who runs it.
enum Quality : uint32_t {
  kHeld = 1,
  kGap = 2,
  kWarming = 4,
  kLate = 8,
  kHistorical = 16,
  kReset = 32,
};

// Whether a step takes an input value as it is: finite, and no larger than float32 sums can bear.
// Anything else counts as missing and never reaches a kernel.
inline constexpr float kLargestInput = 1e30f;
inline bool IsUsable(float x) { return std::abs(x) <= kLargestInput; }

struct LoadOptions {
  bool allow_other_weights = false;  // accept a snapshot of the same architecture, other weights
};

// Move-only; one thread at a time. Creation allocates and warms everything: after it, step() and
// reset() allocate nothing, and on the CPU take no lock, make no system call and cause no page
// fault (none of this holds on `reference`).
//
// On cpu:N a step is split over the calling thread and N - 1 workers that belong to the model, bit
// for bit the step of one thread. Workers look for the next step for 100 us, then sleep: within
// that time step() makes no system call, later one that wakes them. A thread that is kept off its
// CPU is waited for, first looking, then yielding and sleeping; after a step that mostly waited so,
// while the workers step a stream of another thread, and in a forked child, step() runs on the
// calling thread alone.
class Session {
 public:
  // Throws Error{out_of_memory}, on a GPU also Error{device_failed}.
  explicit Session(std::shared_ptr<const Model> model);
  ~Session();
  Session(Session&&) noexcept;
  Session& operator=(Session&&) noexcept;

  // One step. `in`: info().input_width values, raw units in a wrapped model, NaN = missing; `out`:
  // info().output_width values. A value that is not IsUsable() never
  // reaches a kernel: the wrapper's policy
  // replaces it, a bare model takes the last finite value of that channel (0 before there is one);
  // both return Status::held. Errors: shape_mismatch (spans of another width), invalid_argument
  // (token out of range); the state is unchanged. On a GPU a step waits for the device, and
  // device_failed ends the stream: every later call returns it.
  Status step(std::span<const float> in, std::span<float> out) noexcept;
  // The same for token models; token in [0, vocabulary).
  Status step(int64_t token, std::span<float> out) noexcept;

  // T steps: in [T][input_width], out [T][output_width], the same outputs and final state as T
  // calls of step() within rounding. T = out.size() / output_width. quality() afterwards is the
  // last step's. On the CPU it works on 32 steps at once, in memory for those alone that it
  // allocates and frees, and takes step() where there is none or the arithmetic is wide. On a GPU
  // it allocates the first time and for longer inputs.
  Status forward(std::span<const float> in, std::span<float> out) noexcept;
  // The same for token models; `out` may also be one row, for the last step's logits alone. A token
  // out of range changes nothing.
  Status forward(std::span<const int64_t> tokens, std::span<float> out) noexcept;

  // Bits kHeld, kWarming, kReset of the last output.
  uint32_t quality() const noexcept;
  // Steps since the last reset; part of a snapshot.
  uint64_t steps() const noexcept;

  void reset() noexcept;

  // `reference` keeps its state in double and rounds it to the float32 of a snapshot here.
  // The state as snapshot bytes (info().snapshot_bytes), and back. save(span) does not allocate (on
  // a GPU the first time it does); it returns shape_mismatch for a span of another size. load()
  // checks everything before it changes anything. On a GPU both may return device_failed.
  std::vector<std::byte> save() const;
  Status save(std::span<std::byte> out) const noexcept;
  Status load(std::span<const std::byte> snapshot, const LoadOptions& options,
              Fault* fault) noexcept;
  void load(std::span<const std::byte> snapshot, const LoadOptions& options = {});  // throws Error

  Session clone() const;  // throws as the constructor does

  const std::shared_ptr<const Model>& model() const;

 private:
  struct Stream;
  std::shared_ptr<const Model> model_;
  std::unique_ptr<Stream> stream_;
};

}  // namespace xst
