// The resolved configuration of a model: what the YAML (official nested form plus `stream:`) means
// after defaults and derived sizes, and what the model file's directory stores.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace xst::formats {

enum class Family : uint8_t { block_stack, lm, large, tirex };
enum class Activation : uint8_t { gelu, relu, relu2, sigmoid, swish, selu };

// Caps on everything that comes from outside; far above any real model.
inline constexpr uint32_t kMaxDim = 1u << 20;  // any width
inline constexpr uint32_t kMaxBlocks = 4096;
inline constexpr uint32_t kMaxVocab = 1u << 24;  // token ids are exact as f32
inline constexpr uint32_t kMaxKernel = 1024;     // convolution taps
inline constexpr uint32_t kMaxChannels = 4096;   // inputs, outputs
inline constexpr uint32_t kMaxHorizon = 1u << 20;
inline constexpr uint32_t kMaxPatch = 1u << 16;
inline constexpr uint32_t kMaxContext = 1u << 24;  // samples
inline constexpr uint32_t kMaxQuantiles = 256;
inline constexpr uint64_t kMaxStateValues = 1ull << 28;  // of one stream, rows padded to 16

struct MlstmConfig {
  uint32_t heads = 4;
  uint32_t conv_kernel = 4;  // K >= 1
  uint32_t inner = 0;        // P = heads * head dimension
  uint32_t qkv_block = 4;    // effective block size, divides P
};

struct FeedForwardConfig {
  uint32_t inner = 0;  // F
  Activation act = Activation::gelu;
  bool bias = false;
};

struct SlstmConfig {
  uint32_t heads = 4;
  uint32_t conv_kernel = 4;  // 0: no convolution and no SiLU
  bool group_norm_weight = true;
  bool lstm = false;  // function: lstm
  std::optional<FeedForwardConfig> feedforward;
};

// xLSTMBlockStack; with vocab_size > 0, xLSTMLMModel around it.
struct BlockStackConfig {
  uint32_t embedding_dim = 128;
  bool post_blocks_norm = true;
  bool bias = false;                 // of proj_up, proj_down, q, k, v in mLSTM blocks
  std::vector<uint8_t> is_slstm;     // one a block
  std::optional<MlstmConfig> mlstm;  // present if any block is an mLSTM
  std::optional<SlstmConfig> slstm;  // present if any block is an sLSTM
  uint32_t vocab_size = 0;
  bool tie_weights = false;
};

enum class Missing : uint8_t { hold, mean, zero };
enum class GapPolicy : uint8_t { hold, skip };
enum class GapThen : uint8_t { reset, skip };
enum class OutputKind : uint8_t { value, gaussian, surprise, sigmoid, softmax, raw };

struct StreamInput {
  std::string name, unit;
  double mean = 0, std = 1;
  Missing missing = Missing::hold;
};

struct StreamOutput {
  OutputKind kind = OutputKind::raw;
  std::vector<std::string> names;  // one; a softmax has as many as classes
  std::string unit;
  uint32_t horizon = 1;  // samples; value and gaussian with `of`
  int32_t of = -1;       // input index (value, gaussian), output index (surprise), -1: none
  bool residual = false;

  uint32_t HeadRows() const;  // rows of the head this output takes
};

// The `stream:` wrapper around a block stack.
struct StreamConfig {
  double rate_hz = 0;  // 0: event stream
  std::vector<StreamInput> inputs;
  bool encoder = true, encoder_bias = false;  // false: inputs.size() == embedding_dim
  bool head = true, head_bias = false;        // false: outputs are the embedding_dim values
  std::vector<StreamOutput> outputs;          // empty without a head
  GapPolicy gap_policy = GapPolicy::hold;
  double gap_max_s = 0.2;
  GapThen gap_then = GapThen::reset;
  uint32_t warmup = 0;

  uint32_t HeadRows() const;  // rows of head.weight
  std::vector<std::string> ValueNames()
      const;  // one a value, "NAME.sigma" for a gaussian's second; empty without a head
};

// xLSTM Large (specification large.md section 1).
struct LargeConfig {
  uint32_t embedding_dim = 0;  // D
  uint32_t heads = 0;
  uint32_t num_blocks = 0;
  uint32_t vocab_size = 0;
  uint32_t qk = 0;     // QK, width of q and k
  uint32_t value = 0;  // VD, width of v and the output gate
  uint32_t ffn = 0;    // U, width of the feed-forward
  bool bias = false;   // of every linear map but the head, and of every norm
  bool out_norm = true;
  bool tie_weights = false;  // the embedding is the head
  bool fused = false;        // weight_mode: only what the tensors are called in a checkpoint
  double norm_eps = 1e-6;
  double eps = 1e-6;      // of the cell's denominator
  double gate_cap = 15;   // 0: none
  double logit_cap = 30;  // 0: none
};

// When a daemon forecasts, and how.
struct ForecastConfig {
  uint32_t every = 1;    // samples from one forecast of a live stream to the next
  uint32_t horizon = 1;  // samples
  uint32_t rollout = 1;  // max_accelerated_rollout_steps
};

// TiRex (specification tirex.md section 1).
struct TirexConfig {
  uint32_t patch = 0;          // P
  uint32_t context = 0;        // X, samples, a multiple of P
  uint32_t embedding_dim = 0;  // D
  uint32_t heads = 0;
  uint32_t num_blocks = 0;
  uint32_t ffn = 0;        // U, width of the blocks' feed-forward
  uint32_t patch_ffn = 0;  // F, width of the residual blocks at both ends
  std::vector<double> quantiles;
  ForecastConfig forecast;
};

struct ModelConfig {
  Family family = Family::block_stack;
  BlockStackConfig block_stack;  // block_stack and lm
  LargeConfig large;
  TirexConfig tirex;
  std::optional<StreamConfig> stream;
};

// Ids that a model of tokens takes, 0 for one that reads samples.
uint32_t VocabSize(const ModelConfig& config);

// Values a step takes and gives: 1 and the vocabulary for a model of tokens (id in, logits out);
// for TiRex one token, [z | mask] of a patch, and [quantile][P] of the patch behind it.
uint32_t InputWidth(const ModelConfig& config);
uint32_t OutputWidth(const ModelConfig& config);

}  // namespace xst::formats
