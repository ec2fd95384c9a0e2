// Shapes for which a kernel of their own is compiled, with the blocks' sizes known: those of the
// README's configuration on 16 CTAs, any number of both kinds in any order, with any encoder,
// embedding and head.
#pragma once

#include "kernels/cuda/on_chip.h"

namespace xst::kernels::cuda {

inline constexpr uint32_t kFixedThreads = 128;

XST_HOST_DEVICE constexpr OnChipShape ReadmeShape(uint32_t weight, bool scaled) {
  OnChipShape s;
  s.ctas = 16;
  s.width = s.input_width = s.output_width = 128;
  s.blocks = 2;
  s.slstm = 2;
  s.norm_eps = s.head_eps = s.s_norm_eps = s.group_eps = s.ff_eps = 1e-5f;
  s.inner = 256;
  s.heads = s.s_heads = s.block = s.kernel = s.s_kernel = 4;
  s.dim = 64;
  s.cell_eps = 1e-6f;
  s.s_dim = 32;
  s.ff = 192;
  s.forget_cap = __builtin_inff();
  s.Complete(weight, scaled, 4);
  return s;
}

// The shape `fixed`, with what `of` has around its blocks, and as many of them.
XST_HOST_DEVICE constexpr OnChipShape WithEnds(OnChipShape fixed, const OnChipShape& of) {
  fixed.input_width = of.input_width;
  fixed.output_width = of.output_width;
  fixed.blocks = of.blocks;
  fixed.slstm = of.slstm;
  fixed.embed = of.embed;
  fixed.encoder = of.encoder;
  fixed.encoder_bias = of.encoder_bias;
  fixed.post_norm = of.post_norm;
  fixed.head = of.head;
  fixed.head_bias = of.head_bias;
  fixed.post_eps = of.post_eps;
  fixed.act = of.act;
  fixed.own_out = of.own_out;
  fixed.post = of.post;
  fixed.out = of.out;
  fixed.out_sum = of.out_sum;
  fixed.out_scale = of.out_scale;
  fixed.out_bias = of.out_bias;
  fixed.enc = of.enc;
  fixed.enc_scale = of.enc_scale;
  fixed.enc_bias = of.enc_bias;
  fixed.first_block = of.first_block;
  fixed.image = of.image;
  fixed.image_at = of.image_at;
  fixed.first_state = of.first_state;
  fixed.encoded = of.encoded;
  fixed.input = of.input;
  fixed.bytes = of.bytes;
  return fixed;
}

// Whether the fixed kernel of the plan's weights serves it.
inline bool MatchesFixed(const OnChipPlan& plan) {
  if (plan.wide || plan.general || plan.body != OnChipBody::cluster) return false;
  const OnChipShape fixed =
      ReadmeShape(SizeOf(plan.weights), plan.weights == DType::i16 || plan.weights == DType::i8);
  return WithEnds(fixed, plan.shape) == plan.shape;
}

// Null if there is none.
const void* OnChipKernelF32(OnChipBody body, bool fixed);
const void* OnChipKernelBf16(OnChipBody body, bool fixed);
const void* OnChipKernelI16(OnChipBody body, bool fixed);
const void* OnChipKernelI8(OnChipBody body, bool fixed);
const void* OnChipKernelF64(OnChipBody body, bool fixed);

}  // namespace xst::kernels::cuda
