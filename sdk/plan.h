// A Plan: a model compiled once into a flat list of ops over a stream's frame. Every family becomes
// one; every device runs it.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "formats/model_file.h"
#include "kernels/ops.h"
#ifdef XST_MINIMAL
#include "kernels/packed_ops.h"
#endif
#include "sdk/wrapper.h"

namespace xst {

// A persistent array of the frame, as a snapshot holds it: rows x cols values, in the order of
// Plan::state.
struct StateArray {
  kernels::Slot slot;
  uint32_t rows, cols, stride;
  bool ring = false;  // row (steps % rows) is the oldest; a snapshot starts with it
};

#ifdef XST_MINIMAL
using Ops = kernels::PackedOps;
#else
using Ops = std::vector<kernels::Op>;
#endif

struct Plan {
  Ops ops;
  std::vector<StateArray> state;
  uint64_t state_values = 0;    // in a snapshot
  uint32_t state_size = 0;      // the frame's first elements are the state
  uint32_t ops_state_size = 0;  // of which the first belong to the ops; held inputs and prediction
                                // rings lie behind them
  uint32_t frame_size = 0;      // elements, with 16 behind the last array for vector loads
  kernels::Slot input = 0, output = 0;
  kernels::Slot ops_input =
      0;  // what the ops read: `input`, or the x that the wrapper copies it to
  uint32_t input_width = 0, output_width = 0;  // of the ops; a wrapped model's own widths differ
  bool tokens = false;
  kernels::Slot held = 0;          // last usable inputs, in a wrapped model their z; unless tokens
  std::optional<Wrapper> wrapper;  // around the ops
  uint64_t flops = 0;              // of the ops
};

// Never fails: ReadModel has checked everything it relies on. The ops point into the directory's
// tensors.
Plan BuildPlan(const formats::Directory& directory);

}  // namespace xst
