// The ops of a block stack (block_stack, lm, with or without the stream wrapper's encoder and head)
// as blocks again, for kernels that run a whole block, or all of them, at once.
#pragma once

#include <optional>
#include <span>
#include <variant>
#include <vector>

#include "kernels/ops.h"

namespace xst::kernels::cuda {

// x += down(out(cell(...))); every op as the Plan has it, conv absent for kernel size 0.
struct MlstmBlock {
  Norm norm;                 // x -> u
  Linear up;                 // u -> [a | z]
  std::optional<Conv> conv;  // a -> c
  BlockLinear q, k, v;       // c -> q, k; a -> v; q, k, v lie together
  Linear gates;              // [q | k | v] -> [i | f]
  MlstmCell cell;
  MlstmOut out;
  Linear down;  // accumulates onto x
};

struct FeedForward {
  Norm norm;
  Linear up;
  GatedAct act;
  Linear down;  // accumulates onto x
};

struct SlstmBlock {
  Norm norm;
  std::optional<Conv> conv;  // u -> c; without it c is u
  SlstmInput input;
  SlstmCell cell;
  SlstmOut out;  // accumulates onto x
  std::optional<FeedForward> feedforward;
};

struct Stack {
  std::optional<Embed> embed;     // token -> x
  std::optional<Linear> encoder;  // input -> x
  std::vector<std::variant<MlstmBlock, SlstmBlock>> blocks;
  std::vector<Range> block_ops;  // of each block, in the list of ops
  std::optional<Norm> post_norm;
  std::optional<Linear> head;
  Slot input = 0;  // of embed (one number), of encoder, or x itself
  uint32_t input_width = 0;
  Slot x = 0;          // the residual stream
  uint32_t width = 0;  // of x
  Slot output = 0;     // of the last op
  uint32_t output_width = 0;
};

// The stack that `ops` are, or nothing if they are another family's.
std::optional<Stack> RecogniseStack(std::span<const Op> ops, Slot input, uint32_t input_width,
                                    Slot output, uint32_t output_width);

}  // namespace xst::kernels::cuda
