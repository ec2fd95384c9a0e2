// Streams of one model whose waiting samples are stepped together.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "sdk/lanes.h"
#include "sdk/stream/stepper.h"

namespace xst::stream {

// One thread at a time: that of the Loop, or control while it is stopped. Each stream's state is in
// a lane, so that it can step alone as well (sdk/lanes.h says what that does to its results:
// nothing on the CPU).
class Batch : public std::enable_shared_from_this<Batch> {
 public:
  // From `least` waiting samples on they are stepped together. Throws as Lanes.
  Batch(std::shared_ptr<const Model> model, uint32_t streams, uint32_t least);
  // Measures on this thread whether and from when it pays; null if it never does. A sample that
  // comes alone may take up to twice a Session's time if together all are faster (on the CPU it
  // takes the same). Takes a few steps of every count it tries, some milliseconds for all but large
  // models. Throws as Lanes.
  static std::shared_ptr<Batch> MakeIfFaster(const std::shared_ptr<const Model>& model,
                                             uint32_t streams);

  uint32_t streams() const { return lanes_.capacity(); }
  uint32_t least() const { return least_; }
  // Of a fresh stream in a lane of its own, which it frees; null if there is none.
  std::unique_ptr<Stepper> MakeStepper();

  // --- the step: no allocation
  // Puts a lane's sample into the next Run().
  void Add(uint32_t lane, std::span<const float> x) noexcept;
  // Steps what was added. Errors as Lanes::step.
  Status Run() noexcept;
  std::span<const float> output(uint32_t lane) const noexcept;
  // Takes them out again.
  void Clear() noexcept;

 private:
  class LaneStepper;
  double SecondsOf(uint32_t count, double enough);

  Lanes lanes_;
  uint32_t least_;
  const size_t in_width_, out_width_;
  std::vector<uint8_t> mask_;
  std::vector<float> in_, out_;
};

}  // namespace xst::stream
