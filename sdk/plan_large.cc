// xLSTM Large (specification large.md section 4), as ops.
#include "sdk/plan_builder.h"

namespace xst {
namespace {

using namespace kernels;  // NOLINT: this file is nothing but ops
using formats::LargeConfig;

void AddMlstm(PlanBuilder& b, const std::string& block, const LargeConfig& c, Slot x) {
  const Scope scope(b);
  const auto eps = static_cast<float>(c.norm_eps);
  const uint32_t heads = c.heads, dk = c.qk / heads, dv = c.value / heads;
  const uint32_t stride_c = RoundUp16(dv), stride_n = RoundUp16(dk);
  const Slot u = AddRmsNorm(b, block + "norm", c.embedding_dim, eps, x);
  const Slot cell = b.State(heads * dk, dv, stride_c), n = b.State(heads, dk, stride_n);
  const Slot m = b.State(1, heads, heads);

  const Slot q = b.Temp(2 * (c.qk + c.value)), k = q + c.qk, v = k + c.qk, o = v + c.value;
  const Slot gates = b.Temp(2 * heads), h = b.Temp(c.value), y = b.Temp(c.value);
  AddLinear(b, block + "qkvo", u, q);
  AddLinear(b, block + "gates", u, gates);
  b.Add(MlstmCell{heads, dk, dv, stride_c, stride_n, static_cast<float>(c.eps),
                  static_cast<float>(c.gate_cap), false, q, k, v, h, gates, cell, n, m},
        5ull * heads * dk * dv + 6ull * heads * dk);
  b.Add(MlstmOut{.weight = b.Vector(block + "outnorm"),
                 .bias = b.VectorOrNull(block + "outnorm.bias"),
                 .skip = nullptr,
                 .weight_offset = 0,
                 .sigmoid = true,
                 .heads = heads,
                 .dim = dv,
                 .eps = eps,
                 .h = h,
                 .c = 0,
                 .z = o,
                 .y = y},
        14ull * c.value);
  AddLinear(b, block + "out", y, x, true);
}

}  // namespace

void BuildLarge(PlanBuilder& b, const LargeConfig& c) {
  const auto eps = static_cast<float>(c.norm_eps);
  Plan& plan = b.plan;
  Slot x = b.Temp(c.embedding_dim);
  plan.tokens = true;
  plan.input = b.Temp(1);
  plan.input_width = 1;
  b.Add(Embed{b.Weight("embedding"), plan.input, x}, 0);
  for (uint32_t i = 0; i < c.num_blocks; ++i) {
    const std::string block = "blocks." + std::to_string(i) + ".";
    AddMlstm(b, block, c, x);
    const Scope scope(b);
    const Slot u = AddRmsNorm(b, block + "ffn.norm", c.embedding_dim, eps, x);
    AddGatedFeedForward(b, block + "ffn.", c.ffn, Activation::swish, u, x);
  }
  if (c.out_norm) x = AddRmsNorm(b, "out_norm", c.embedding_dim, eps, x);
  plan.output = b.Temp(c.vocab_size);
  plan.output_width = c.vocab_size;
  AddLinear(b, c.tie_weights ? "embedding" : "head", x, plan.output);
  if (c.logit_cap > 0) {
    b.Add(Pointwise{PointwiseKind::soft_cap, static_cast<float>(c.logit_cap), c.vocab_size,
                    plan.output, plan.output},
          8ull * c.vocab_size);
  }
}

}  // namespace xst
