// The `stream:` wrapper (specification stream.md section 1): raw samples in, named outputs out.
// Encoder and head are ops of the Plan; this is the scalar arithmetic before and after them, in
// double.
#pragma once

#include <cstdint>
#include <vector>

#include "formats/config.h"
#include "kernels/ops.h"

namespace xst {

class Wrapper {
 public:
  struct Slots {
    kernels::Slot z = 0;        // normalised inputs [inputs]
    kernels::Slot x = 0;        // the residual stream, which starts as z where there is no encoder
    kernels::Slot missing = 0;  // 1 where this step's input was replaced [inputs]
    kernels::Slot held = 0;     // state: z of the last usable inputs, 0 before one [inputs]
    kernels::Slot rows = 0;     // the head's rows, or the stack's output without a head
    std::vector<kernels::Slot>
        rings;  // state: one a surprise, [horizon][2]: predicted z, log variance
  };

  Wrapper(const formats::StreamConfig& config, uint32_t embedding_dim, Slots slots);

  uint32_t input_width() const { return static_cast<uint32_t>(config_.inputs.size()); }
  uint32_t output_width() const { return output_width_; }
  uint32_t warmup() const { return config_.warmup; }
  kernels::Slot x() const { return slots_.x; }

  // Replaces missing values (IsUsable) and normalises: z = (x - mean) / std. True if anything was
  // replaced.
  template <class T>
  bool Before(const float* raw, T* frame) const;

  // The outputs of one step from the head's rows; `steps`: steps since the reset before this one.
  template <class T>
  void After(uint64_t steps, T* frame, float* out) const;

 private:
  formats::StreamConfig config_;
  uint32_t output_width_;
  Slots slots_;
};

// The rings a wrapper needs: the horizon of each surprise's gaussian, in output order.
std::vector<uint32_t> SurpriseHorizons(const formats::StreamConfig& config);

}  // namespace xst
