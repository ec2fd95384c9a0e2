// TiRex (specification tirex.md section 1).
#include "formats/manifest_builder.h"

namespace xst::formats {
namespace {

// output(relu(hidden(x))) + residual(x).
void ResidualBlock(ManifestBuilder& b, const std::string& to, const std::string& from, uint64_t in,
                   uint64_t hidden, uint64_t out) {
  const auto add = [&](const char* part, uint64_t rows, uint64_t cols) {
    const std::string source = from + part + "_layer.";
    b.Dense(to + part, rows, cols, {{source + "weight", {rows, cols}}});
    b.Vector(to + part + ".bias", rows, source + "bias");
  };
  add("hidden", hidden, in);
  add("output", out, hidden);
  add("residual", out, in);
}

void Block(ManifestBuilder& b, const std::string& to, const std::string& from,
           const TirexConfig& c) {
  const uint64_t d = c.embedding_dim, dim = d / c.heads, rows = 4 * RoundUp(d, 16);
  const std::string layer = from + "slstm_layer.", cell = layer + "slstm_cell.";
  b.Vector(to + "norm", d, from + "norm_slstm.weight");
  b.SlstmInput(to + "w", rows, c.heads, dim, layer);
  b.Add({to + "r",
         rows,
         dim,
         Layout::panel,
         dim >= kMinRoundedCols,
         {{cell + "_recurrent_kernel_", {c.heads, dim, 4 * dim}, Placement::recurrent_by_input}}});
  b.Add({to + "r.bias",
         1,
         rows,
         Layout::rows,
         false,
         {{cell + "_bias_", {4 * d}, Placement::recurrent_bias_by_head}}});
  b.Vector(to + "outnorm", d, layer + "group_norm.weight");
  b.Vector(to + "ffn.norm", d, from + "norm_ffn.weight");
  const std::string ffn = from + "ffn.";
  b.Dense(to + "ffn.up", 2ull * c.ffn, d,
          {{ffn + "proj_up_gate.weight", {c.ffn, d}},
           {ffn + "proj_up.weight", {c.ffn, d}, Placement::rows, c.ffn}});
  b.Dense(to + "ffn.down", d, c.ffn, {{ffn + "proj_down.weight", {d, c.ffn}}});
}

}  // namespace

void TirexManifest(ManifestBuilder& b, const TirexConfig& c) {
  const uint64_t d = c.embedding_dim;
  ResidualBlock(b, "input.", "input_patch_embedding.", 2ull * c.patch, c.patch_ffn, d);
  for (uint32_t i = 0; i < c.num_blocks; ++i) {
    const std::string block = "blocks." + std::to_string(i) + ".";
    Block(b, block, block, c);
  }
  b.Vector("out_norm", d, "out_norm.weight");
  ResidualBlock(b, "output.", "output_patch_embedding.", d, c.patch_ffn,
                c.quantiles.size() * c.patch);
}

}  // namespace xst::formats
