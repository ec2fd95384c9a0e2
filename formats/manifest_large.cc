// xLSTM Large (specification large.md section 2).
#include "formats/manifest_builder.h"

namespace xst::formats {
namespace {

struct Part {
  const char* name;
  uint32_t rows;
};

// Stacked maps [rows][cols] of the same input, or vectors [rows] where cols is 0: separate tensors
// in a checkpoint, or one fused tensor.
std::vector<Source> Stacked(const std::string& from, const char* kind, bool fused,
                            const char* fused_name, const std::vector<Part>& parts, uint64_t cols) {
  const auto shape = [&](uint64_t rows) {
    return cols ? std::vector<uint64_t>{rows, cols} : std::vector<uint64_t>{rows};
  };
  std::vector<Source> sources;
  uint32_t rows = 0;
  for (const Part& part : parts) {
    if (!fused) {
      sources.push_back({from + part.name + kind, shape(part.rows), Placement::rows, rows});
    }
    rows += part.rows;
  }
  if (fused) sources.push_back({from + fused_name + kind, shape(rows)});
  return sources;
}

class Block {
 public:
  Block(ManifestBuilder& b, const LargeConfig& c, uint32_t index)
      : b_(b), c_(c), to_("blocks." + std::to_string(index) + "."), from_("backbone." + to_) {}

  void Add() {
    const uint32_t d = c_.embedding_dim;
    Norm("norm", d, "norm_mlstm");
    Map("qkvo", d, c_.bias, "mlstm_layer.qkv_opreact",
        {{"mlstm_layer.q", c_.qk},
         {"mlstm_layer.k", c_.qk},
         {"mlstm_layer.v", c_.value},
         {"mlstm_layer.ogate_preact", c_.value}});
    Map("gates", d, true, "mlstm_layer.ifgate_preact",
        {{"mlstm_layer.igate_preact", c_.heads}, {"mlstm_layer.fgate_preact", c_.heads}});
    Norm("outnorm", c_.value, "mlstm_layer.multihead_norm");
    Map("out", c_.value, c_.bias, nullptr, {{"mlstm_layer.out_proj", d}});
    Norm("ffn.norm", d, "norm_ffn");
    Map("ffn.up", d, c_.bias, "ffn.proj_up_gate_z",
        {{"ffn.proj_up_gate", c_.ffn}, {"ffn.proj_up", c_.ffn}});
    Map("ffn.down", c_.ffn, c_.bias, nullptr, {{"ffn.proj_down", d}});
  }

 private:
  void Norm(const char* name, uint32_t size, const char* source) {
    b_.Vector(to_ + name, size, from_ + source + ".weight");
    if (c_.bias) b_.Vector(to_ + name + ".bias", size, from_ + source + ".bias");
  }
  // `fused_name`: null for a map that no weight mode fuses.
  void Map(const char* name, uint32_t cols, bool bias, const char* fused_name,
           const std::vector<Part>& parts) {
    uint64_t rows = 0;
    for (const Part& part : parts) rows += part.rows;
    const bool fused = c_.fused && fused_name;
    b_.Dense(to_ + name, rows, cols, Stacked(from_, ".weight", fused, fused_name, parts, cols));
    if (!bias) return;
    b_.Vector(to_ + name + ".bias", rows, Stacked(from_, ".bias", fused, fused_name, parts, 0));
  }

  ManifestBuilder& b_;
  const LargeConfig& c_;
  const std::string to_, from_;
};

}  // namespace

void LargeManifest(ManifestBuilder& b, const LargeConfig& c) {
  const uint32_t d = c.embedding_dim;
  b.Embedding("embedding", c.vocab_size, d, c.tie_weights, "embedding.weight");
  for (uint32_t i = 0; i < c.num_blocks; ++i) Block(b, c, i).Add();
  if (c.out_norm) {
    b.Vector("out_norm", d, "backbone.out_norm.weight");
    if (c.bias) b.Vector("out_norm.bias", d, "backbone.out_norm.bias");
  }
  if (!c.tie_weights) {
    b.Dense("head", c.vocab_size, d, {{"lm_head.weight", {c.vocab_size, d}}});
  }
}

}  // namespace xst::formats
