// xLSTMBlockStack and xLSTMLMModel, with the stream wrapper's encoder and head, as ops.
#include <limits>
#include <tuple>

#include "sdk/plan_builder.h"

namespace xst {
namespace {

using namespace kernels;  // NOLINT: this file is nothing but ops
using formats::BlockStackConfig;

constexpr float kNormEps = 1e-5f, kCellEps = 1e-6f;

uint64_t Mac(const Matrix& m) { return 2ull * m.rows * m.cols; }

Slot AddNorm(PlanBuilder& b, const std::string& name, uint32_t size, Slot x) {
  const Slot y = b.Temp(size);
  b.Add(Norm{b.Vector(name), nullptr, 1, kNormEps, size, true, x, y}, 8 * size);
  return y;
}

// silu(conv(x)); x itself where the kernel size is 0.
Slot AddConv(PlanBuilder& b, const std::string& block, uint32_t channels, uint32_t kernel, Slot x) {
  if (kernel == 0) return x;
  const uint32_t stride = RoundUp16(channels);
  const Slot history = b.State(kernel - 1, channels, stride), y = b.Temp(channels);
  b.Add(Conv{b.Vector(block + "conv.weight"), b.Vector(block + "conv.bias"), channels, kernel,
             stride, history, x, y},
        2ull * channels * kernel + 4 * channels);
  return y;
}

void AddMlstm(PlanBuilder& b, const std::string& block, const BlockStackConfig& c, Slot x) {
  const Scope scope(b);
  const uint32_t p = c.mlstm->inner, heads = c.mlstm->heads, dim = p / heads;
  const Slot u = AddNorm(b, block + "norm", c.embedding_dim, x);
  const Slot az = b.Temp(2 * p), a = az, z = az + p;
  AddLinear(b, block + "up", u, az);

  const uint32_t stride = RoundUp16(dim);
  const Slot cell = b.State(heads * dim, dim, stride), n = b.State(heads, dim, stride);
  const Slot m = b.State(1, heads, heads);
  const Slot conv = AddConv(b, block, p, c.mlstm->conv_kernel, a);

  // q, k and v lie together: the gates read them as one vector of 3 P.
  const Slot q = b.Temp(3 * p), k = q + p, v = k + p;
  for (const auto& [name, from, to] : {std::tuple("q", conv, q), {"k", conv, k}, {"v", a, v}}) {
    const Matrix w = b.Weight(block + name);
    b.Add(BlockLinear{w, b.VectorOrNull(block + name + ".bias"), from, to}, Mac(w));
  }
  const Slot gates = b.Temp(2 * heads), h = b.Temp(p), s = b.Temp(p);
  AddLinear(b, block + "gates", q, gates);
  b.Add(
      MlstmCell{heads, dim, dim, stride, stride, kCellEps, 0, true, q, k, v, h, gates, cell, n, m},
      5ull * heads * dim * dim + 6ull * heads * dim);
  b.Add(MlstmOut{b.Vector(block + "outnorm"), nullptr, b.Vector(block + "skip"), 1, false, heads,
                 dim, kNormEps, h, conv, z, s},
        14 * p);
  AddLinear(b, block + "down", s, x, true);
}

void AddFeedForward(PlanBuilder& b, const std::string& block, const BlockStackConfig& c, Slot x) {
  const Scope scope(b);
  const formats::FeedForwardConfig& f = *c.slstm->feedforward;
  const Slot u = AddNorm(b, block + "ffn.norm", c.embedding_dim, x);
  AddGatedFeedForward(b, block + "ffn.", f.inner, static_cast<Activation>(f.act), u, x);
}

void AddSlstm(PlanBuilder& b, const std::string& block, const BlockStackConfig& c, Slot x) {
  const Scope scope(b);
  const formats::SlstmConfig& s = *c.slstm;
  const uint32_t d = c.embedding_dim, dim = d / s.heads, rows = 4 * RoundUp16(d);
  const Slot u = AddNorm(b, block + "norm", d, x);
  const Slot y = b.State(1, d, d), cell = b.State(1, d, d);
  const Slot n = s.lstm ? 0 : b.State(1, d, d), m = s.lstm ? 0 : b.State(1, d, d);
  const Slot conv = AddConv(b, block, d, s.conv_kernel, u);
  const Slot wx = b.Temp(rows), out = b.Temp(d);
  const Matrix w = b.Weight(block + "w"), r = b.Weight(block + "r");
  b.Add(SlstmInput{w, d, dim, conv, u, wx}, 8ull * d * dim);
  b.Add(SlstmCell{r, b.Vector(block + "r.bias"), d, dim, std::numeric_limits<float>::infinity(),
                  s.lstm, wx, y, cell, n, m, out},
        8ull * d * dim + 20 * d);
  b.Add(SlstmOut{b.VectorOrNull(block + "outnorm"), s.heads, dim, kNormEps, out, y, x}, 9 * d);
  if (s.feedforward) AddFeedForward(b, block, c, x);
}

// Input to residual stream. Sets what the plan reads.
Slot AddInput(PlanBuilder& b, const formats::ModelConfig& config, Wrapper::Slots* wrapper) {
  const uint32_t d = config.block_stack.embedding_dim;
  Plan& plan = b.plan;
  const Slot x = b.Temp(d);
  plan.input = x;
  plan.input_width = d;
  if (config.family == formats::Family::lm) {
    plan.tokens = true;
    plan.input = b.Temp(1);
    plan.input_width = 1;
    b.Add(Embed{b.Weight("embedding"), plan.input, x}, 0);
  } else if (config.stream) {
    const auto inputs = static_cast<uint32_t>(config.stream->inputs.size());
    // Apart from x, which the blocks change: outputs need this step's z.
    wrapper->z = b.Temp(inputs);
    wrapper->x = x;
    wrapper->missing = b.Temp(inputs);
    plan.input = wrapper->z;
    plan.input_width = inputs;
    if (config.stream->encoder) AddLinear(b, "encoder", wrapper->z, x);
  }
  return x;
}

}  // namespace

void BuildBlockStack(PlanBuilder& b, const formats::ModelConfig& config) {
  const BlockStackConfig& c = config.block_stack;
  const uint32_t d = c.embedding_dim;
  Plan& plan = b.plan;
  Wrapper::Slots wrapper;
  Slot x = AddInput(b, config, &wrapper);
  for (size_t i = 0; i < c.is_slstm.size(); ++i) {
    const std::string block = "blocks." + std::to_string(i) + ".";
    (c.is_slstm[i] ? AddSlstm : AddMlstm)(b, block, c, x);
  }
  if (c.post_blocks_norm) x = AddNorm(b, "post_norm", d, x);
  plan.output = x;
  plan.output_width = d;

  const bool lm = config.family == formats::Family::lm;
  if (lm || (config.stream && config.stream->head)) {
    plan.output_width = lm ? c.vocab_size : config.stream->HeadRows();
    plan.output = b.Temp(plan.output_width);
    AddLinear(b, lm && c.tie_weights ? "embedding" : "head", x, plan.output);
  }
  if (!plan.tokens) plan.held = b.State(1, plan.input_width, plan.input_width);
  if (config.stream) {
    wrapper.held = plan.held;
    wrapper.rows = plan.output;
    for (uint32_t horizon : SurpriseHorizons(*config.stream)) {
      wrapper.rings.push_back(b.State(horizon, 2, 2, true));
    }
    plan.wrapper.emplace(*config.stream, d, wrapper);
  }
}

}  // namespace xst
