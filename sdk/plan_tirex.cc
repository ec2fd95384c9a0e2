// TiRex (specification tirex.md section 3), as ops: one step is one token, [z | mask] of a patch
// in, [quantile][patch] of the next one out, both normalised.
#include "sdk/plan_builder.h"

namespace xst {
namespace {

using namespace kernels;  // NOLINT: this file is nothing but ops
using formats::TirexConfig;

constexpr float kRmsEps = 1e-6f, kHeadEps = 1e-5f, kForgetCap = 15;

// output(relu(hidden(x))) + residual(x).
Slot AddResidualBlock(PlanBuilder& b, const std::string& name, uint32_t hidden, uint32_t out,
                      Slot x) {
  const Slot y = b.Temp(out);
  const Scope scope(b);
  const Slot h = b.Temp(hidden);
  AddLinear(b, name + "hidden", x, h);
  b.Add(Pointwise{PointwiseKind::relu, 0, hidden, h, h}, hidden);
  AddLinear(b, name + "output", h, y);
  AddLinear(b, name + "residual", x, y, true);
  return y;
}

void AddSlstm(PlanBuilder& b, const std::string& block, const TirexConfig& c, Slot x) {
  const Scope scope(b);
  const uint32_t d = c.embedding_dim, dim = d / c.heads, rows = 4 * RoundUp16(d);
  const Slot u = AddRmsNorm(b, block + "norm", d, kRmsEps, x);
  const Slot y = b.State(1, d, d), cell = b.State(1, d, d);
  const Slot n = b.State(1, d, d), m = b.State(1, d, d);
  const Slot wx = b.Temp(rows), out = b.Temp(d);
  b.Add(SlstmInput{b.Weight(block + "w"), d, dim, u, u, wx}, 8ull * d * dim);
  b.Add(SlstmCell{b.Weight(block + "r"), b.Vector(block + "r.bias"), d, dim, kForgetCap, false, wx,
                  y, cell, n, m, out},
        8ull * d * dim + 20ull * d);
  b.Add(SlstmOut{b.Vector(block + "outnorm"), c.heads, dim, kHeadEps, out, y, x}, 9ull * d);
}

}  // namespace

void BuildTirex(PlanBuilder& b, const TirexConfig& c) {
  const uint32_t d = c.embedding_dim;
  Plan& plan = b.plan;
  plan.input_width = 2 * c.patch;
  plan.input = b.Temp(plan.input_width);
  Slot x = AddResidualBlock(b, "input.", c.patch_ffn, d, plan.input);
  for (uint32_t i = 0; i < c.num_blocks; ++i) {
    const std::string block = "blocks." + std::to_string(i) + ".";
    AddSlstm(b, block, c, x);
    const Scope scope(b);
    const Slot u = AddRmsNorm(b, block + "ffn.norm", d, kRmsEps, x);
    AddGatedFeedForward(b, block + "ffn.", c.ffn, Activation::swish, u, x);
  }
  x = AddRmsNorm(b, "out_norm", d, kRmsEps, x);
  plan.output_width = static_cast<uint32_t>(c.quantiles.size()) * c.patch;
  plan.output = AddResidualBlock(b, "output.", c.patch_ffn, plan.output_width, x);
  plan.held = b.State(1, plan.input_width, plan.input_width);
}

}  // namespace xst
