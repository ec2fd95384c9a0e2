// What every build says and decides about a model's directory.
#pragma once

#include <cstdint>

#include "formats/model_file.h"
#include "sdk/model.h"

namespace xst {

// Values of the trained model.
uint64_t CountParameters(const formats::Directory& directory);

// Whether a step of a model takes double.
bool TakesDouble(Arithmetic asked, uint64_t parameters, uint64_t state_values);

}  // namespace xst
