// What a model is in every build: the parts that run a step, and what is said and decided about its
// directory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "formats/model_file.h"
#include "kernels/kernels.h"
#include "sdk/model.h"
#include "sdk/plan.h"

namespace xst {

struct StepParts {
  Plan plan;          // points into the file
  bool wide = false;  // frames are of doubles
  // On the CPU and the reference that of frames' type is there.
  const kernels::Kernels<float>* single_kernels = nullptr;
  const kernels::Kernels<double>* wide_kernels = nullptr;

  template <class T>
  const kernels::Kernels<T>& table() const {
    if constexpr (std::is_same_v<T, float>)
      return *single_kernels;
    else
      return *wide_kernels;
  }
  size_t element_bytes() const { return wide ? sizeof(double) : sizeof(float); }
  uint32_t input_width() const {
    return plan.wrapper ? plan.wrapper->input_width() : plan.input_width;
  }
  uint32_t output_width() const {
    return plan.wrapper ? plan.wrapper->output_width() : plan.output_width;
  }
};

// Values of the trained model.
uint64_t CountParameters(const formats::Directory& directory);

// Whether a step of a model takes double.
bool TakesDouble(Arithmetic asked, uint64_t parameters, uint64_t state_values);

}  // namespace xst
