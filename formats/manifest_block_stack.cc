// xLSTMBlockStack and xLSTMLMModel.
#include "formats/manifest_builder.h"

namespace xst::formats {
namespace {

void MlstmBlock(ManifestBuilder& b, const std::string& to, const std::string& from,
                const BlockStackConfig& c) {
  const MlstmConfig& m = *c.mlstm;
  const uint64_t d = c.embedding_dim, p = m.inner;
  const std::string x = from + "xlstm.";
  b.Vector(to + "norm", d, from + "xlstm_norm.weight");
  b.Dense(to + "up", 2 * p, d, {{x + "proj_up.weight", {2 * p, d}}});
  if (c.bias) b.Vector(to + "up.bias", 2 * p, x + "proj_up.bias");
  b.Conv(to + "conv", p, m.conv_kernel, x + "conv1d.conv");
  for (const char* part : {"q", "k", "v"}) {
    b.BlockDiagonal(to + part, p, m.qkv_block, x + part + "_proj.weight");
    if (c.bias) b.Vector(to + part + ".bias", p, x + part + "_proj.bias");
  }
  const std::string cell = x + "mlstm_cell.";
  b.Dense(to + "gates", 2 * m.heads, 3 * p,
          {{cell + "igate.weight", {m.heads, 3 * p}},
           {cell + "fgate.weight", {m.heads, 3 * p}, Placement::rows, m.heads}});
  b.Add({to + "gates.bias",
         1,
         2 * m.heads,
         Layout::rows,
         false,
         {{cell + "igate.bias", {m.heads}},
          {cell + "fgate.bias", {m.heads}, Placement::rows, m.heads}}});
  b.Vector(to + "outnorm", p, cell + "outnorm.weight");
  b.Vector(to + "skip", p, x + "learnable_skip");
  b.Dense(to + "down", d, p, {{x + "proj_down.weight", {d, p}}});
  if (c.bias) b.Vector(to + "down.bias", d, x + "proj_down.bias");
}

void SlstmBlock(ManifestBuilder& b, const std::string& to, const std::string& from,
                const BlockStackConfig& c) {
  const SlstmConfig& s = *c.slstm;
  const uint64_t d = c.embedding_dim, dim = d / s.heads, rows = 4 * RoundUp(d, 16);
  const std::string x = from + "xlstm.", cell = x + "slstm_cell.";
  b.Vector(to + "norm", d, from + "xlstm_norm.weight");
  if (s.conv_kernel > 0) b.Conv(to + "conv", d, s.conv_kernel, x + "conv1d.conv");
  b.SlstmInput(to + "w", rows, s.heads, dim, x);
  b.Add({to + "r",
         rows,
         dim,
         Layout::panel,
         dim >= kMinRoundedCols,
         {{cell + "_recurrent_kernel_", {s.heads, 4 * dim, dim}, Placement::recurrent}}});
  b.Add({to + "r.bias",
         1,
         rows,
         Layout::rows,
         false,
         {{cell + "_bias_", {4 * d}, Placement::recurrent_bias}}});
  if (s.group_norm_weight) b.Vector(to + "outnorm", d, x + "group_norm.weight");
  if (s.feedforward) {
    const FeedForwardConfig& f = *s.feedforward;
    const std::string ffn = from + "ffn.";
    b.Vector(to + "ffn.norm", d, from + "ffn_norm.weight");
    b.Dense(to + "ffn.up", 2 * f.inner, d, {{ffn + "proj_up.weight", {2ull * f.inner, d}}});
    if (f.bias) b.Vector(to + "ffn.up.bias", 2 * f.inner, ffn + "proj_up.bias");
    b.Dense(to + "ffn.down", d, f.inner, {{ffn + "proj_down.weight", {d, f.inner}}});
    if (f.bias) b.Vector(to + "ffn.down.bias", d, ffn + "proj_down.bias");
  }
}

}  // namespace

void BlockStackManifest(ManifestBuilder& b, const ModelConfig& config) {
  const BlockStackConfig& c = config.block_stack;
  const uint64_t d = c.embedding_dim;
  const bool lm = config.family == Family::lm;
  const std::string stack = lm ? "xlstm_block_stack." : config.stream ? kBackbone : "";

  if (lm) {
    b.Embedding("embedding", c.vocab_size, d, c.tie_weights, "token_embedding.weight");
  } else if (config.stream && config.stream->encoder) {
    const uint64_t n = config.stream->inputs.size();
    b.Dense("encoder", d, n, {{"encoder.weight", {d, n}}});
    if (config.stream->encoder_bias) b.Vector("encoder.bias", d, "encoder.bias");
  }
  for (size_t i = 0; i < c.is_slstm.size(); ++i) {
    const std::string block = "blocks." + std::to_string(i) + ".";
    (c.is_slstm[i] ? SlstmBlock : MlstmBlock)(b, block, stack + block, c);
  }
  if (c.post_blocks_norm) b.Vector("post_norm", d, stack + "post_blocks_norm.weight");
  if (lm) {
    if (!c.tie_weights) b.Dense("head", c.vocab_size, d, {{"lm_head.weight", {c.vocab_size, d}}});
  } else if (config.stream && config.stream->head) {
    const uint64_t r = config.stream->HeadRows();
    b.Dense("head", r, d, {{"head.weight", {r, d}}});
    if (config.stream->head_bias) b.Vector("head.bias", r, "head.bias");
  }
}

}  // namespace xst::formats
