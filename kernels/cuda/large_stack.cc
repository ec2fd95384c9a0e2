#include "kernels/cuda/large_stack.h"

#include "kernels/cuda/op_reader.h"

namespace xst::kernels::cuda {
namespace {

bool TakeBlock(OpReader& r, LargeBlock* b) {
  return r.Take(&b->norm) && r.Take(&b->qkvo) && r.Take(&b->gates) && r.Take(&b->cell) &&
         r.Take(&b->mlstm_out) && r.Take(&b->out) && r.Take(&b->ffn_norm) && r.Take(&b->up) &&
         r.Take(&b->act) && r.Take(&b->down);
}

// Whether the arrays are wired as the fused kernels assume.
bool Wired(const LargeBlock& b, Slot x, uint32_t width) {
  const MlstmCell& c = b.cell;
  const MlstmOut& o = b.mlstm_out;
  const uint32_t qk = c.heads * c.dk, value = c.heads * c.dv;
  return b.norm.x == x && b.norm.size == width && b.qkvo.x == b.norm.y && b.gates.x == b.norm.y &&
         b.qkvo.w.cols == width && b.gates.w.cols == width && !b.qkvo.accumulate &&
         !b.gates.accumulate && b.qkvo.w.rows == 2 * (qk + value) &&
         b.gates.w.rows == 2 * c.heads && c.q == b.qkvo.y && c.k == c.q + qk && c.v == c.k + qk &&
         o.z == c.v + value && c.gates == b.gates.y && o.h == c.h && o.heads == c.heads &&
         o.dim == c.dv && !o.skip && b.out.x == o.y && b.out.y == x && b.out.accumulate &&
         b.out.w.cols == value && b.out.w.rows == width && b.ffn_norm.x == x &&
         b.ffn_norm.size == width && b.up.x == b.ffn_norm.y && b.up.w.cols == width &&
         !b.up.accumulate && b.up.w.rows == 2 * b.act.size && b.act.gate == b.up.y &&
         b.act.linear == b.act.gate + b.act.size && b.down.x == b.act.y && b.down.y == x &&
         b.down.accumulate && b.down.w.cols == b.act.size && b.down.w.rows == width;
}

}  // namespace

std::optional<LargeStack> RecogniseLarge(std::span<const Op> ops) {
  OpReader r(ops);
  LargeStack s;
  if (!r.Take(&s.embed)) return std::nullopt;
  s.x = s.embed.x;
  const uint32_t width = s.embed.table.cols;
  constexpr size_t kBlockOps = 10;
  while (r.left() >= kBlockOps) {
    LargeBlock block;
    if (!TakeBlock(r, &block) || !Wired(block, s.x, width)) return std::nullopt;
    s.blocks.push_back(block);
  }
  Slot last = s.x;
  r.Take(&s.out_norm);
  if (s.out_norm) {
    if (s.out_norm->x != s.x || s.out_norm->size != width) return std::nullopt;
    last = s.out_norm->y;
  }
  if (!r.Take(&s.head) || s.head.x != last || s.head.accumulate || s.head.w.cols != width) {
    return std::nullopt;
  }
  r.Take(&s.soft_cap);
  if (s.soft_cap) {
    const Pointwise& p = *s.soft_cap;
    if (p.kind != PointwiseKind::soft_cap || p.x != s.head.y || p.y != p.x ||
        p.size != s.head.w.rows) {
      return std::nullopt;
    }
  }
  if (s.blocks.empty() || r.left() != 0) return std::nullopt;
  return s;
}

}  // namespace xst::kernels::cuda
