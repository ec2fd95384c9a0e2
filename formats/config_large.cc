// xLSTM Large: the package's flat configuration, and the hub's config.json.
#include <cmath>

#include "formats/config_parts.h"

namespace xst::formats {
namespace {

using Type = MapReader::Type;

constexpr std::initializer_list<const char*> kFloats = {"bfloat16", "float16", "float32",
                                                        "float64"};

// `width`, which the factor under `key` gave.
uint32_t CheckedWidth(MapReader& map, const char* key, double factor, double width) {
  if (!(width >= 1 && width <= kMaxDim)) {
    map.Fail(map.Has(key) ? *map.Take(key) : map.place(), key,
             "a factor that gives a width from 1 to " + std::to_string(kMaxDim),
             std::to_string(factor));
  }
  return static_cast<uint32_t>(width);
}

// A width that the configuration gives as a factor, truncated as Python's int() does.
uint32_t Width(MapReader& map, const char* key, double factor, uint32_t embedding_dim) {
  map.Number(key, &factor);
  return CheckedWidth(map, key, factor, std::trunc(factor * embedding_dim));
}

// A soft cap; null, kept as 0, switches it off.
void Cap(MapReader& map, const char* key, double* cap) {
  const YamlNode* node = map.Take(key);
  if (node && node->kind == YamlNode::Kind::null) {
    *cap = 0;
  } else {
    map.Positive(key, cap);
  }
}

// One size under two names: the first that is there, and both must agree.
void Size(MapReader& map, const char* first, const char* second, uint32_t high, uint32_t* value) {
  uint32_t other = 0;
  const bool has = map.Integer(first, 1, high, value);
  if (!map.Integer(second, 1, high, &other)) return;
  if (has && other != *value) {
    map.Fail(*map.Take(second), second,
             std::to_string(*value) + " as " + first + " says, or no second name",
             std::to_string(other));
  }
  *value = other;
}

// Which implementation computes the cell has no effect, but for the sigmoid input gate, which no
// step kernel has.
void IgnoreKernels(MapReader& map) {
  for (const char* key : {"chunkwise_kernel", "sequence_kernel", "step_kernel"}) {
    const YamlNode* node = map.Take(key);
    if (!node) continue;
    if (!node->IsString() || node->text.find("siging") != std::string::npos) {
      map.Fail(*node, key, "a kernel with the exponential input gate", node->Describe());
    }
    map.Remark(*node, key, "no effect on inference");
  }
}

void IgnoreRest(MapReader& map) {
  IgnoreKernels(map);
  map.IgnoreChoice("mode", {"train", "train_with_padding", "inference"});
  map.Ignore("norm_reduction_force_float32", Type::boolean);
  map.Ignore("chunk_size", Type::integer);
  map.Ignore("return_last_states", Type::boolean);
  map.IgnoreChoice("autocast_kernel_dtype", kFloats, true);
  map.IgnoreChoice("inference_state_dtype", kFloats);
  map.Ignore("mlstm_round_up_to_multiple_of", Type::any);
}

void ReadSizes(MapReader& map, bool hub, LargeConfig* c) {
  if (hub) {
    c->embedding_dim = 4096;
    c->num_blocks = 32;
    c->heads = 8;
    c->vocab_size = 50304;
    Size(map, "hidden_size", "embedding_dim", kMaxDim, &c->embedding_dim);
    Size(map, "num_hidden_layers", "num_blocks", kMaxBlocks, &c->num_blocks);
  } else {
    for (const char* key : {"embedding_dim", "num_blocks", "num_heads", "vocab_size"}) {
      map.Require(key);
    }
    map.Integer("embedding_dim", 1, kMaxDim, &c->embedding_dim);
    map.Integer("num_blocks", 1, kMaxBlocks, &c->num_blocks);
  }
  map.Integer("num_heads", 1, kMaxDim, &c->heads);
  map.Integer("vocab_size", 1, kMaxVocab, &c->vocab_size);
}

// a // b of Python's floats.
double FloorDivide(double a, double b) {
  const double quotient = (a - std::fmod(a, b)) / b;
  const double whole = std::floor(quotient);
  return quotient - whole > 0.5 ? whole + 1 : whole;
}

}  // namespace

uint32_t ReadRoundedUpWidth(MapReader& map, const char* key, double factor, uint32_t multiple,
                            uint32_t embedding_dim) {
  map.Number(key, &factor);
  const double m = multiple;
  const double width = std::trunc(FloorDivide(factor * embedding_dim + m - 1, m) * m);
  return CheckedWidth(map, key, factor, width);
}

void ReadLarge(MapReader& map, bool hub, ModelConfig* out) {
  out->family = Family::large;
  LargeConfig& c = out->large;
  ReadSizes(map, hub, &c);
  c.qk = Width(map, "qk_dim_factor", 0.5, c.embedding_dim);
  c.value = Width(map, "v_dim_factor", 1, c.embedding_dim);
  uint32_t multiple = 64;
  map.Integer("ffn_round_up_to_multiple_of", 1, kMaxDim, &multiple);
  c.ffn =
      ReadRoundedUpWidth(map, "ffn_proj_factor", hub ? 2.667 : 2.6667, multiple, c.embedding_dim);
  map.Bool("use_bias", &c.bias);
  map.Bool("add_out_norm", &c.out_norm);
  map.Positive("norm_eps", &c.norm_eps);
  map.Positive("eps", &c.eps);
  Cap(map, "gate_soft_cap", &c.gate_cap);
  Cap(map, "output_logit_soft_cap", &c.logit_cap);
  uint32_t fused = 0;
  map.Choice("weight_mode", {"single", "fused"}, &fused);
  c.fused = fused == 1;
  IgnoreRest(map);
  for (const auto& [what, width] : {std::pair("qk_dim_factor", c.qk), {"v_dim_factor", c.value}}) {
    if (width % c.heads == 0) continue;
    map.Fail(map.Has(what) ? *map.Take(what) : map.place(), what,
             "a width that num_heads " + std::to_string(c.heads) + " divides",
             std::to_string(width));
  }
  if (!hub) return map.Finish();
  map.Bool("tie_word_embeddings", &c.tie_weights);
  map.FinishLeniently();
}

}  // namespace xst::formats
