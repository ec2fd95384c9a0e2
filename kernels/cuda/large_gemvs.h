// The fused products of a Large block.
#pragma once

#include "kernels/cuda/gemv.h"
#include "kernels/cuda/large_stack.h"

namespace xst::kernels::cuda {

// Whether qkvo and gates are one launch.
inline bool OneLaunch(const LargeBlock& b) { return b.qkvo.w.dtype == b.gates.w.dtype; }
// qkvo, with the gates if they can be.
inline Gemv First(const LargeBlock& b) {
  Gemv g{.linear = b.qkvo, .norm = b.norm};
  if (OneLaunch(b)) g.second = b.gates;
  return g;
}
inline Gemv Gates(const LargeBlock& b) { return {.linear = b.gates, .norm = b.norm}; }
inline Gemv Out(const LargeBlock& b) {
  return {.linear = b.out, .mlstm_out = b.mlstm_out, .cell = b.cell};
}
inline Gemv Up(const LargeBlock& b) { return {.linear = b.up, .norm = b.ffn_norm, .act = b.act}; }
inline Gemv Down(const LargeBlock& b) { return {.linear = b.down}; }
inline Gemv Head(const LargeStack& s) {
  return {.linear = s.head, .norm = s.out_norm, .soft_cap = s.soft_cap ? s.soft_cap->cap : 0};
}

}  // namespace xst::kernels::cuda
