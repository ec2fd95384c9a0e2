#include "kernels/cuda/stack.h"

#include "kernels/cuda/op_reader.h"

namespace xst::kernels::cuda {
namespace {

bool TakeMlstm(OpReader& r, MlstmBlock* b) {
  return r.Take(&b->up) && r.Take(&b->conv) && r.Take(&b->q) && r.Take(&b->k) && r.Take(&b->v) &&
         r.Take(&b->gates) && r.Take(&b->cell) && r.Take(&b->out) && r.Take(&b->down) &&
         b->down.accumulate && b->down.y == b->norm.x && b->k.y == b->q.y + b->q.w.rows &&
         b->v.y == b->k.y + b->k.w.rows && b->gates.x == b->q.y;
}

bool TakeFeedForward(OpReader& r, FeedForward* f) {
  return r.Take(&f->norm) && r.Take(&f->up) && r.Take(&f->act) && r.Take(&f->down) &&
         f->down.accumulate && f->down.y == f->norm.x;
}

// A norm and a product also begin an mLSTM block, but not with an activation behind them.
bool TakeSlstm(OpReader& r, SlstmBlock* b) {
  if (!r.Take(&b->conv) || !r.Take(&b->input) || !r.Take(&b->cell) || !r.Take(&b->out) ||
      b->out.x != b->norm.x) {
    return false;
  }
  OpReader ahead = r;
  FeedForward f;
  if (TakeFeedForward(ahead, &f)) {
    b->feedforward = f;
    r = ahead;
  }
  return true;
}

// Nothing is left, or one product.
bool AtMostTheHead(OpReader r) {
  std::optional<Linear> head;
  r.Take(&head);
  return r.done();
}

}  // namespace

std::optional<Stack> RecogniseStack(std::span<const Op> ops, Slot input, uint32_t input_width,
                                    Slot output, uint32_t output_width) {
  OpReader r(ops);
  Stack s;
  s.input = input;
  s.input_width = input_width;
  s.output = output;
  s.output_width = output_width;
  r.Take(&s.encoder);
  r.Take(&s.embed);
  while (const Norm* norm = r.Peek<Norm>()) {
    if (!norm->center) return std::nullopt;
    s.x = norm->x;
    s.width = norm->size;
    const uint32_t begin = r.position();
    Norm first;
    r.Take(&first);
    if (AtMostTheHead(r)) {
      s.post_norm = first;
      break;
    }
    if (r.Peek<Linear>()) {
      MlstmBlock block;
      block.norm = first;
      if (!TakeMlstm(r, &block)) return std::nullopt;
      s.blocks.push_back(block);
    } else {
      SlstmBlock block;
      block.norm = first;
      if (!TakeSlstm(r, &block)) return std::nullopt;
      s.blocks.push_back(block);
    }
    s.block_ops.push_back({begin, r.position()});
  }
  r.Take(&s.head);
  if (!r.done() || s.blocks.empty()) return std::nullopt;
  return s;
}

}  // namespace xst::kernels::cuda
