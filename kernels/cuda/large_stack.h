// The ops of xLSTM Large as blocks again, for launchers that run a whole token or a whole prompt.
#pragma once

#include <optional>
#include <span>
#include <vector>

#include "kernels/ops.h"

namespace xst::kernels::cuda {

// x += out(mlstm(norm(x))); x += down(act(up(ffn_norm(x)))). Every op as the Plan has it.
struct LargeBlock {
  Norm norm;     // x -> u
  Linear qkvo;   // u -> [q | k | v | o]
  Linear gates;  // u -> [i | f]
  MlstmCell cell;
  MlstmOut mlstm_out;  // of the cell's h, gated by o
  Linear out;          // accumulates onto x
  Norm ffn_norm;       // x -> u
  Linear up;           // u -> [gate | linear]
  GatedAct act;
  Linear down;  // accumulates onto x
};

struct LargeStack {
  Embed embed;
  std::vector<LargeBlock> blocks;
  std::optional<Norm> out_norm;
  Linear head;
  std::optional<Pointwise> soft_cap;  // in place on the logits
  Slot x;                             // the residual stream
};

// The stack that `ops` are, or nothing if they are another family's.
std::optional<LargeStack> RecogniseLarge(std::span<const Op> ops);

}  // namespace xst::kernels::cuda
