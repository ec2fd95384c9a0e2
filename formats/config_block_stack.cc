#include <algorithm>
#include <cmath>

#include "formats/config_parts.h"

namespace xst::formats {
namespace {

using Type = MapReader::Type;

constexpr std::initializer_list<const char*> kDTypes = {"bfloat16", "float16", "float32"};

// The inner dimension of an up-projection, in IEEE double and in the official order; 0 if it is out
// of range and no block uses it.
uint32_t InnerDimension(MapReader& map, double factor, uint32_t embedding_dim, bool used) {
  bool up = true;
  uint32_t multiple = 64;
  const YamlNode* where = map.Has("proj_factor") ? map.Take("proj_factor") : &map.place();
  map.Number("proj_factor", &factor);
  map.Bool("round_proj_up_dim_up", &up);
  map.Integer("round_proj_up_to_multiple_of", 1, kMaxDim, &multiple);
  const double wanted = factor * embedding_dim;
  const double parts = wanted / multiple;
  const double inner = (up ? std::ceil(parts) : std::floor(parts)) * multiple;
  if (!(inner >= 1 && inner <= kMaxDim)) {
    if (!used) return 0;
    map.Fail(*where, "proj_factor", "an inner dimension from 1 to " + std::to_string(kMaxDim),
             std::to_string(inner));
  }
  return static_cast<uint32_t>(inner);
}

void IgnoreOverwritten(MapReader& map) {
  map.Ignore("embedding_dim", Type::integer);
  map.Ignore("dropout", Type::number);
}

// `used` is false for a template that no block takes: its types count, its sizes do not.
MlstmConfig ReadMlstm(MapReader& block, uint32_t embedding_dim, bool used) {
  MapReader map = block.MapOrEmpty("mlstm");
  MlstmConfig m;
  uint32_t wanted = 4;
  const YamlNode* heads = map.Take("num_heads");
  const YamlNode* blocksize = map.Take("qkv_proj_blocksize");
  map.Integer("num_heads", 1, kMaxDim, &m.heads);
  map.Integer("conv1d_kernel_size", 1, kMaxKernel, &m.conv_kernel);
  map.Integer("qkv_proj_blocksize", 1, kMaxDim, &wanted);
  m.inner = InnerDimension(map, 2.0, embedding_dim, used);
  IgnoreOverwritten(map);
  map.Ignore("bias", Type::boolean);
  map.Ignore("context_length", Type::integer);
  map.Finish();
  block.Finish();
  if (!used) return m;
  const std::string inner = "the inner dimension " + std::to_string(m.inner);
  if (m.inner % m.heads != 0) {
    map.Fail(heads ? *heads : map.place(), "num_heads", "a divisor of " + inner,
             std::to_string(m.heads));
  }
  // The official projection wants a number of blocks, not a size: the block may come out larger.
  const uint32_t blocks = m.inner / wanted;
  if (blocks == 0 || m.inner % blocks != 0) {
    map.Fail(blocksize ? *blocksize : map.place(), "qkv_proj_blocksize",
             "one that cuts " + inner + " into equal blocks", std::to_string(wanted));
  }
  m.qkv_block = m.inner / blocks;
  return m;
}

std::optional<FeedForwardConfig> ReadFeedForward(MapReader& block, uint32_t embedding_dim,
                                                 bool used) {
  FeedForwardConfig f;
  if (const YamlNode* node = block.Take("feedforward")) {
    if (node->kind == YamlNode::Kind::null) return std::nullopt;
  }
  MapReader map = block.MapOrEmpty("feedforward");
  uint32_t act = 0;
  map.Choice("act_fn", {"gelu", "relu", "relu^2", "sigmoid", "swish", "selu"}, &act);
  f.act = static_cast<Activation>(act);
  map.Bool("bias", &f.bias);
  uint32_t type;
  map.Choice("ff_type", {"ffn_gated"}, &type);
  f.inner = InnerDimension(map, 1.3, embedding_dim, used);
  IgnoreOverwritten(map);
  map.Finish();
  return f;
}

void ReadSlstmFields(MapReader& map, SlstmConfig* s, std::string* backend) {
  map.Integer("num_heads", 1, kMaxDim, &s->heads);
  map.Integer("conv1d_kernel_size", 0, kMaxKernel, &s->conv_kernel);
  map.Bool("group_norm_weight", &s->group_norm_weight);
  uint32_t choice = 0, cuda = 1, four;
  map.Choice("function", {"slstm", "lstm"}, &choice);
  s->lstm = choice == 1;
  map.Choice("backend", {"vanilla", "cuda"}, &cuda);
  *backend = cuda ? "cuda" : "vanilla";
  map.Integer("num_gates", 4, 4, &four);
  // Other shapes run the official recurrence over the batch axis.
  map.Choice("input_shape", {"BSGNH"}, &choice);
  map.Choice("output_shape", {"BNSH"}, &choice);
  map.Choice("internal_input_shape", {"SBNGH"}, &choice);
  const YamlNode* clip = map.Take("gradient_recurrent_clipval");
  if (clip && clip->kind != YamlNode::Kind::null && cuda) {
    map.Fail(*clip, "gradient_recurrent_clipval",
             "null with backend cuda (which clips the output with it)", clip->Describe());
  }
  map.Ignore("gradient_recurrent_clipval", Type::number, true);
  map.Ignore("forward_clipval", Type::number, true);
}

void IgnoreSlstmFields(MapReader& map) {
  map.Ignore("num_states", Type::integer);
  map.IgnoreChoice("dtype", kDTypes);
  for (const char* key : {"dtype_b", "dtype_r", "dtype_w", "dtype_g", "dtype_s", "dtype_a"}) {
    map.IgnoreChoice(key, kDTypes, true);
  }
  map.Ignore("enable_automatic_mixed_precision", Type::boolean);
  map.IgnoreChoice("bias_init", {"powerlaw_blockdependent", "small_init", "standard"});
  map.IgnoreChoice("recurrent_weight_init", {"zeros", "standard"});
  map.Ignore("gradient_recurrent_cut", Type::boolean);
  map.Ignore("batch_size", Type::integer);
  map.Ignore("constants", Type::map);
  map.Ignore("hidden_size", Type::integer);
  IgnoreOverwritten(map);
  if (const YamlNode* initial = map.Take("initial_val")) {
    double number;
    const bool list = initial->kind == YamlNode::Kind::sequence &&
                      std::all_of(initial->items.begin(), initial->items.end(),
                                  [&](const YamlNode& item) { return item.IsNumber(&number); });
    map.Ignore("initial_val", list ? Type::any : Type::number);
  }
}

SlstmConfig ReadSlstm(MapReader& block, uint32_t embedding_dim, bool used, std::string* backend) {
  SlstmConfig s;
  MapReader map = block.MapOrEmpty("slstm");
  const YamlNode* heads = map.Take("num_heads");
  ReadSlstmFields(map, &s, backend);
  IgnoreSlstmFields(map);
  map.Finish();
  s.feedforward = ReadFeedForward(block, embedding_dim, used);
  block.Finish();
  if (used && embedding_dim % s.heads != 0) {
    map.Fail(heads ? *heads : map.place(), "num_heads",
             "a divisor of embedding_dim " + std::to_string(embedding_dim),
             std::to_string(s.heads));
  }
  return s;
}

// Which blocks are sLSTM blocks.
std::vector<uint8_t> ReadBlockMap(MapReader& map, uint32_t num_blocks, bool any_mlstm) {
  std::vector<uint8_t> is_slstm(num_blocks, 0);
  const YamlNode* at = map.Take("slstm_at");
  const bool all = at && at->IsString() && at->text == "all";
  if (at && !all && at->kind != YamlNode::Kind::sequence) {
    map.Fail(*at, "slstm_at", "a list of integers or all", at->Describe());
  }
  if (at && !all) {
    for (const YamlNode& item : at->items) {
      int64_t position;
      if (!item.IsInteger(&position)) map.Fail(item, "slstm_at", "integers", item.Describe());
      if (!any_mlstm) continue;
      if (position < -int64_t{num_blocks} || position >= int64_t{num_blocks}) {
        const std::string n = std::to_string(num_blocks);
        map.Fail(item, "slstm_at", "positions from -" + n + " to below " + n, item.Describe());
      }
      is_slstm[static_cast<size_t>(position < 0 ? position + num_blocks : position)] = 1;
    }
  }
  // Without an mLSTM template the official package makes every block an sLSTM.
  if (all || !any_mlstm) is_slstm.assign(num_blocks, 1);
  return is_slstm;
}

}  // namespace

void ReadBlockStack(MapReader& map, bool lm, ParsedConfig* out) {
  out->config.family = lm ? Family::lm : Family::block_stack;
  BlockStackConfig& c = out->config.block_stack;
  uint32_t num_blocks = 1;
  map.Integer("num_blocks", 1, kMaxBlocks, &num_blocks);
  map.Integer("embedding_dim", 1, kMaxDim, &c.embedding_dim);
  map.Bool("add_post_blocks_norm", &c.post_blocks_norm);
  map.Bool("bias", &c.bias);
  map.Ignore("context_length", Type::integer);
  map.Ignore("dropout", Type::number);
  if (lm) {
    map.Require("vocab_size");
    map.Integer("vocab_size", 1, kMaxVocab, &c.vocab_size);
    map.Bool("tie_weights", &c.tie_weights);
    map.Ignore("weight_decay_on_embedding", Type::boolean);
    map.Ignore("add_embedding_dropout", Type::boolean);
  }
  auto mlstm = map.Map("mlstm_block", true);
  auto slstm = map.Map("slstm_block", true);
  c.is_slstm = ReadBlockMap(map, num_blocks, mlstm.has_value());
  const bool any_slstm = std::count(c.is_slstm.begin(), c.is_slstm.end(), 1) > 0;
  const bool any_mlstm = std::count(c.is_slstm.begin(), c.is_slstm.end(), 0) > 0;
  if (any_slstm && !slstm) {
    const YamlNode* at = map.Take("slstm_at");
    map.Fail(at ? *at : map.place(), "slstm_block", "a map, for some blocks are sLSTM blocks",
             "none");
  }
  if (mlstm) {
    const MlstmConfig m = ReadMlstm(*mlstm, c.embedding_dim, any_mlstm);
    if (any_mlstm) c.mlstm = m;
  }
  if (slstm) {
    const SlstmConfig s = ReadSlstm(*slstm, c.embedding_dim, any_slstm, &out->slstm_backend);
    if (any_slstm) c.slstm = s;
  }
  map.Finish();
}

}  // namespace xst::formats
