// Many steps of one stream on the CPU: matrices are read once for a piece of them, and the mLSTM
// takes a piece at once.
#pragma once

#include <vector>

#include "sdk/model_core.h"

namespace xst {

class StepSequence {
 public:
  static constexpr size_t kMost = kernels::kSequence;

  // For pieces of up to `steps` steps. `model` is on the CPU, in single precision, and outlives
  // this. May throw bad_alloc.
  StepSequence(const ModelCore& model, size_t steps);

  // What stands for the frame of step t of a piece; its state is elsewhere.
  float* frame(size_t t) const { return frames_[t]; }

  // The ops of `count` steps, on from the state in `state`. `outputs`: whether plan.output of all
  // of them is wanted, of the last one only, or of none.
  enum class Outputs { all, last, none };
  void Run(float* state, size_t count, Outputs outputs) noexcept;

 private:
  const ModelCore& model_;
  size_t stride_;    // elements between activations of steps
  size_t stateful_;  // ops up to the last that has a state
  Memory memory_;    // activations, then scratch
  float* scratch_;
  std::vector<float*> frames_, states_;
};

}  // namespace xst
