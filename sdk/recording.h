// What a packer is given of a model's input.
#pragma once

#include <vector>

#include "formats/config.h"
#include "formats/npy.h"

namespace xst {

// The values of `array`, valid input of a model: [T][input width] float32, finite unless a wrapper
// takes care, or [T] token ids as numbers. Throws Error, which starts with `what`.
std::vector<float> TakeRecording(const char* what, const formats::ModelConfig& config,
                                 const formats::Array& array);

}  // namespace xst
