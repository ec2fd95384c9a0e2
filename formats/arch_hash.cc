#include <xxhash.h>

#include <charconv>
#include <cstdio>
#include <string>

#include "formats/model_file.h"

namespace xst::formats {
namespace {

// One `key=value` a line; texts carry their length, so that no content can imitate a line.
class Canonical {
 public:
  void Add(const char* key, uint64_t value) { Line(key, std::to_string(value)); }
  void Add(const char* key, double value) {
    char digits[32];
    const auto end = std::to_chars(digits, digits + sizeof digits, value).ptr;
    Line(key, std::string(digits, end));
  }
  void Add(const char* key, const std::string& text) {
    Line(key, std::to_string(text.size()) + ':' + text);
  }
  void Shape(const char* key, std::initializer_list<uint64_t> shape) {
    std::string text;
    for (const uint64_t n : shape) text += '[' + std::to_string(n) + ']';
    Line(key, text);
  }
  const std::string& text() const { return text_; }

 private:
  void Line(const char* key, const std::string& value) { text_ += key + ('=' + value) + '\n'; }
  std::string text_;
};

void AddMlstm(Canonical& out, const BlockStackConfig& c) {
  const MlstmConfig& m = *c.mlstm;
  const uint64_t dim = m.inner / m.heads;
  out.Add("mlstm.qkv_block", uint64_t{m.qkv_block});
  out.Shape("C", {m.heads, dim, dim});
  out.Shape("n", {m.heads, dim});
  out.Shape("m", {m.heads});
  out.Shape("conv", {m.conv_kernel - 1u, m.inner});
}

void AddSlstm(Canonical& out, const BlockStackConfig& c) {
  const SlstmConfig& s = *c.slstm;
  out.Add("slstm.heads", uint64_t{s.heads});
  out.Add("slstm.conv_kernel", uint64_t{s.conv_kernel});
  out.Add("slstm.group_norm_weight", uint64_t{s.group_norm_weight});
  out.Add("slstm.lstm", uint64_t{s.lstm});
  if (s.feedforward) {
    out.Add("ffn.inner", uint64_t{s.feedforward->inner});
    out.Add("ffn.act", uint64_t(s.feedforward->act));
    out.Add("ffn.bias", uint64_t{s.feedforward->bias});
  }
  out.Shape("cell", {s.lstm ? 2u : 4u, c.embedding_dim});
  out.Shape("conv", {s.conv_kernel > 0 ? s.conv_kernel - 1u : 0u, c.embedding_dim});
}

void AddStream(Canonical& out, const StreamConfig& s) {
  out.Add("rate_hz", s.rate_hz);
  for (const StreamInput& in : s.inputs) {
    out.Add("input", in.name);
    out.Add("unit", in.unit);
    out.Add("mean", in.mean);
    out.Add("std", in.std);
    out.Add("missing", uint64_t(in.missing));
  }
  out.Add("encoder", uint64_t{s.encoder} + s.encoder_bias);
  out.Add("head", uint64_t{s.head} + s.head_bias);
  for (const StreamOutput& o : s.outputs) {
    out.Add("output", uint64_t(o.kind));
    for (const std::string& name : o.names) out.Add("name", name);
    out.Add("unit", o.unit);
    out.Add("horizon", uint64_t{o.horizon});
    out.Add("of", uint64_t(int64_t{o.of} + 1));
    out.Add("residual", uint64_t{o.residual});
    if (o.kind == OutputKind::surprise) out.Shape("ring", {s.outputs[o.of].horizon, 2});
  }
  out.Add("gap_policy", uint64_t(s.gap_policy));
  out.Add("gap_max_s", s.gap_max_s);
  out.Add("gap_then", uint64_t(s.gap_then));
  out.Add("warmup", uint64_t{s.warmup});
  out.Shape("held", {s.inputs.size()});
}

void AddBlockStack(Canonical& out, const BlockStackConfig& c) {
  out.Add("embedding_dim", uint64_t{c.embedding_dim});
  out.Add("post_blocks_norm", uint64_t{c.post_blocks_norm});
  out.Add("bias", uint64_t{c.bias});
  out.Add("vocab_size", uint64_t{c.vocab_size});
  out.Add("tie_weights", uint64_t{c.tie_weights});
  for (const uint8_t is_slstm : c.is_slstm) {
    out.Add("block", uint64_t{is_slstm});
    (is_slstm ? AddSlstm : AddMlstm)(out, c);
  }
}

// Without weight_mode: it names the same function.
void AddLarge(Canonical& out, const LargeConfig& c) {
  const uint64_t dk = c.qk / c.heads, dv = c.value / c.heads;
  out.Add("embedding_dim", uint64_t{c.embedding_dim});
  out.Add("num_blocks", uint64_t{c.num_blocks});
  out.Add("vocab_size", uint64_t{c.vocab_size});
  out.Add("ffn", uint64_t{c.ffn});
  out.Add("bias", uint64_t{c.bias});
  out.Add("out_norm", uint64_t{c.out_norm});
  out.Add("tie_weights", uint64_t{c.tie_weights});
  out.Add("norm_eps", c.norm_eps);
  out.Add("eps", c.eps);
  out.Add("gate_cap", c.gate_cap);
  out.Add("logit_cap", c.logit_cap);
  out.Shape("C", {c.heads, dk, dv});
  out.Shape("n", {c.heads, dk});
  out.Shape("m", {c.heads});
}

void AddTirex(Canonical& out, const TirexConfig& c) {
  out.Add("patch", uint64_t{c.patch});
  out.Add("context", uint64_t{c.context});
  out.Add("heads", uint64_t{c.heads});
  out.Add("num_blocks", uint64_t{c.num_blocks});
  out.Add("ffn", uint64_t{c.ffn});
  out.Add("patch_ffn", uint64_t{c.patch_ffn});
  for (const double q : c.quantiles) out.Add("quantile", q);
  out.Add("every", uint64_t{c.forecast.every});
  out.Add("horizon", uint64_t{c.forecast.horizon});
  out.Add("rollout", uint64_t{c.forecast.rollout});
  out.Shape("cell", {4, c.embedding_dim});
}

}  // namespace

Hash128 ArchHash(const ModelConfig& config) {
  Canonical out;
  out.Add("family", uint64_t(config.family));
  switch (config.family) {
    case Family::block_stack:
    case Family::lm:
      AddBlockStack(out, config.block_stack);
      break;
    case Family::large:
      AddLarge(out, config.large);
      break;
    case Family::tirex:
      AddTirex(out, config.tirex);
      break;
  }
  if (config.stream) AddStream(out, *config.stream);
  const XXH128_hash_t hash = XXH3_128bits(out.text().data(), out.text().size());
  return {hash.low64, hash.high64};
}

}  // namespace xst::formats
