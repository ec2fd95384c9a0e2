// Making and replaying the probe that lets a device prove itself: an input with the float64
// reference's outputs.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "formats/npy.h"
#include "formats/pack.h"
#include "sdk/model.h"

namespace xst {

// Packs `source` with a probe: the float64 reference on the packed weights, and, for a smaller
// type, on the full ones too (through a scratch file beside `path`). `input`: [T][input_width]
// float32 or [T] token ids; null means seeded random steps, 16 of them, or 2 from 2^26 parameters
// on. The bound of a device kind is a multiple of the error that this machine's own kernels show,
// at least 2e-6 of the largest output. `framework`: the training framework's output for `input`,
// [T][output_width], kept in the file as it is; may be empty. Throws Error.
formats::Remarks PackWithProbe(const std::string& source, const std::string& path,
                               const formats::PackOptions& options, const formats::Array* input,
                               std::span<const float> framework = {});

// What rounding the weights does to the probe's outputs, both in exact arithmetic.
struct RoundingError {
  double largest = 0;   // max |on the stored weights - on the full weights|
  double relative = 0;  // of the largest output
};
// Zeros if the file has no probe.
RoundingError ProbeRoundingError(const Model& model);

// Runs `steps` rows of valid input through a fresh stream; tokens as numbers.
std::vector<float> RunProbe(std::shared_ptr<const Model> model, uint32_t steps,
                            std::span<const float> input);

// max |a - b|: 0 where both are NaN, infinite where one is.
double LargestDifference(std::span<const float> a, std::span<const float> b);
// max |a| over the finite values.
double LargestMagnitude(std::span<const float> a);

}  // namespace xst
