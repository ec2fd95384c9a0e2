// Configurations of xLSTM Large, its hub form, and TiRex.
#include <gtest/gtest.h>

#include "formats/config_yaml.h"
#include "formats/json.h"
#include "formats/model_file.h"
#include "tests/unit/formats/support.h"

namespace xst::formats {
namespace {

constexpr char kSizes[] = "embedding_dim: 24\nnum_heads: 2\nnum_blocks: 3\nvocab_size: 40\n";

LargeConfig Large(const std::string& more) {
  return ParseConfig(kSizes + more, "config.yaml", nullptr).large;
}
LargeConfig Hub(const std::string& json, std::vector<std::string>* remarks = nullptr) {
  return ParseConfig(json, "config.json", remarks).large;
}

std::string FailureOf(const std::string& text, const std::string& name) {
  try {
    ParseConfig(text, name, nullptr);
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), Status::invalid_config) << e.what();
    EXPECT_TRUE(std::string(e.what()).starts_with(name)) << e.what();
    return e.what();
  }
  return "accepted";
}
void ExpectFailure(const std::string& text, const std::string& name, const std::string& part) {
  const std::string why = FailureOf(text, name);
  EXPECT_NE(why.find(part), std::string::npos) << text << "\n" << why;
}

TEST(LargeConfig, DefaultsAndWidths) {
  const LargeConfig c = Large("");
  EXPECT_EQ(c.qk, 12u);
  EXPECT_EQ(c.value, 24u);
  EXPECT_EQ(c.ffn, 64u);  // 24 * 2.6667 = 64.0008 drops what is below 1
  EXPECT_TRUE(c.out_norm);
  EXPECT_FALSE(c.bias || c.fused || c.tie_weights);
  EXPECT_EQ(c.gate_cap, 15);
  EXPECT_EQ(c.logit_cap, 30);
  EXPECT_EQ(c.norm_eps, 1e-6);
}

TEST(LargeConfig, WidthsTruncateAsFloats) {
  const auto parse = [](const std::string& yaml) { return ParseConfig(yaml, "c", nullptr).large; };
  EXPECT_EQ(parse("embedding_dim: 50\nnum_heads: 2\nnum_blocks: 1\nvocab_size: 2\n"
                  "qk_dim_factor: 0.58\n")
                .qk,
            28u);
  EXPECT_EQ(parse("embedding_dim: 48\nnum_heads: 2\nnum_blocks: 1\nvocab_size: 2\n").ffn, 128u);
  EXPECT_EQ(parse("embedding_dim: 4096\nnum_heads: 8\nnum_blocks: 32\nvocab_size: 50304\n").ffn,
            10944u);
  EXPECT_EQ(Large("ffn_round_up_to_multiple_of: 7\n").ffn, 70u);
}

TEST(LargeConfig, CapsAndIgnoredFields) {
  const LargeConfig c = Large(
      "gate_soft_cap: null\noutput_logit_soft_cap: 3.5\nchunkwise_kernel: "
      "chunkwise--native_custbw\n"
      "mode: train\nchunk_size: 16\nreturn_last_states: true\ninference_state_dtype: bfloat16\n"
      "autocast_kernel_dtype: float32\nweight_mode: fused\nnorm_reduction_force_float32: false\n"
      "sequence_kernel: native_sequence__triton\nstep_kernel: native\neps: 1e-4\n");
  EXPECT_EQ(c.gate_cap, 0);
  EXPECT_EQ(c.logit_cap, 3.5);
  EXPECT_EQ(c.eps, 1e-4);
  EXPECT_TRUE(c.fused);
}

TEST(LargeConfig, WrongFieldsAreRefused) {
  for (const auto& [more, part] : std::initializer_list<std::pair<const char*, const char*>>{
           {"gate_soft_cap: 0", "gate_soft_cap"},
           {"gate_soft_cap: -1", "gate_soft_cap"},
           {"norm_eps: 0", "norm_eps"},
           {"qk_dim_factor: 0.01", "qk_dim_factor"},
           {"qk_dim_factor: 0.55", "qk_dim_factor"},  // 13 is no multiple of 2
           {"ffn_proj_factor: -2", "ffn_proj_factor"},
           {"ffn_proj_factor: 1e30", "ffn_proj_factor"},
           {"weight_mode: split", "weight_mode"},
           {"chunkwise_kernel: chunkwise--triton_xl_chunk_siging", "chunkwise_kernel"},
           {"mode: test", "mode"},
           {"num_head: 3", "num_head"},
           {"stream: {rate_hz: 1, inputs: [{name: a}]}", "stream"},
           {"forecast: {every: 1}", "forecast"}}) {
    ExpectFailure(std::string(kSizes) + more + "\n", "config.yaml", part);
  }
  ExpectFailure("num_heads: 2\nnum_blocks: 3\nvocab_size: 40\n", "config.yaml", "embedding_dim");
  ExpectFailure("model: large\nconfig: {}\n", "config.yaml", "embedding_dim");
}

TEST(HubConfig, DefaultsNamesAndUnknownFields) {
  std::vector<std::string> remarks;
  const LargeConfig c = Hub(
      R"({"model_type": "xlstm", "hidden_size": 64, "num_hidden_layers": 2, "num_heads": 4,
          "vocab_size": 40, "norm_eps": 1e-06, "tie_word_embeddings": true, "ffn_proj_factor": 2.667,
          "gate_soft_cap": null, "torch_dtype": "bfloat16", "head_dim": {"a": [1, 2.5, "x"]}})",
      &remarks);
  EXPECT_EQ(c.embedding_dim, 64u);
  EXPECT_EQ(c.num_blocks, 2u);
  EXPECT_EQ(c.norm_eps, 1e-6);
  EXPECT_EQ(c.gate_cap, 0);
  EXPECT_TRUE(c.tie_weights);
  EXPECT_NE(std::find(remarks.begin(), remarks.end(), "config.json: head_dim: not known, ignored"),
            remarks.end());
  const LargeConfig none = Hub("{}");
  EXPECT_EQ(none.embedding_dim, 4096u);
  EXPECT_EQ(none.num_blocks, 32u);
  EXPECT_EQ(none.heads, 8u);
  EXPECT_EQ(none.vocab_size, 50304u);
  EXPECT_EQ(none.ffn, 10944u);
  EXPECT_EQ(Hub(R"({"embedding_dim": 512, "num_blocks": 3})").embedding_dim, 512u);
  const LargeConfig nulls = Hub(
      R"({"hidden_size": 64, "embedding_dim": null, "num_blocks": null, "step_kernel": null,
          "inference_state_dtype": null, "output_logit_soft_cap": null})");
  EXPECT_EQ(nulls.embedding_dim, 64u);
  EXPECT_EQ(nulls.num_blocks, 32u);
  EXPECT_EQ(nulls.logit_cap, 0);
}

TEST(HubConfig, ContradictionsAndHostileTextAreRefused) {
  for (const auto& [json, part] : std::initializer_list<std::pair<std::string, const char*>>{
           {R"({"hidden_size": 64, "embedding_dim": 128})", "embedding_dim"},
           {R"({"num_hidden_layers": 2, "num_blocks": 3})", "num_blocks"},
           {R"({"model_type": "llama"})", "model_type"},
           {R"({"num_heads": "8"})", "num_heads"},
           {R"({"num_heads": 8, "num_heads": 8})", "num_heads"},
           {R"({"num_heads": 8)", "valid JSON"},
           {R"({"norm_eps": NaN})", "valid JSON"},
           {"[]", "expected a map"},
           {"", "valid JSON"},
           {"{\"a\": " + std::string(100'000, '[') + std::string(100'000, ']') + "}", "16 levels"},
           {"{\"a\": \"" + std::string(2'000'000, 'x') + "\"}", "1 MiB"}}) {
    ExpectFailure(json, "config.json", part);
  }
  std::string many = "{";
  for (int i = 0; i < 300; ++i) many += (i ? ", \"k" : "\"k") + std::to_string(i) + "\": 1";
  ExpectFailure(many + "}", "config.json", "256 keys");
}

constexpr char kTirex[] =
    "model_config:\n  input_patch_size: 8\n  output_patch_size: 8\n  quantiles: [0.1, 0.5]\n"
    "  input_ff_dim: 48\n  block_kwargs: {num_blocks: 2, embedding_dim: 24, num_heads: 3, x: 1}\n"
    "train_ctx_len: 64\n";

TEST(TirexConfig, SizesAndForecast) {
  const ModelConfig m = ParseConfig(kTirex, "c", nullptr);
  EXPECT_EQ(m.family, Family::tirex);
  EXPECT_EQ(m.tirex.ffn, 64u);
  EXPECT_EQ(InputWidth(m), 16u);
  EXPECT_EQ(OutputWidth(m), 16u);
  EXPECT_EQ(m.tirex.forecast.horizon, 8u);
  EXPECT_EQ(m.tirex.forecast.every, 8u);
  EXPECT_EQ(m.tirex.forecast.rollout, 1u);
  const ForecastConfig ours =
      ParseConfig(kTirex + std::string("forecast: {every: 3, horizon: 20, rollout: 2}\n"), "c",
                  nullptr)
          .tirex.forecast;
  EXPECT_EQ(ours.every, 3u);
  EXPECT_EQ(ours.horizon, 20u);
  EXPECT_EQ(ours.rollout, 2u);
  EXPECT_EQ(ParseConfig(kTirex + std::string("forecast: {prediction_length: 24, "
                                             "max_accelerated_rollout_steps: 2}\n"),
                        "c", nullptr)
                .tirex.forecast.horizon,
            24u);
}

TEST(TirexConfig, WrongFieldsAreRefused) {
  const std::string good = kTirex;
  const auto with = [&](const std::string& from, const std::string& to) {
    std::string text = good;
    return text.replace(text.find(from), from.size(), to);
  };
  ExpectFailure(with("output_patch_size: 8", "output_patch_size: 4"), "c", "output_patch_size");
  ExpectFailure(with("[0.1, 0.5]", "[0.1, 0.9]"), "c", "quantiles");
  ExpectFailure(with("[0.1, 0.5]", "[0.5, 1.0]"), "c", "quantiles");
  ExpectFailure(with("[0.1, 0.5]", "0.5"), "c", "quantiles");
  ExpectFailure(with("[0.1, 0.5]", "[0.5, 0.1, 0.5]"), "c", "quantiles");
  ExpectFailure(with("train_ctx_len: 64", "train_ctx_len: 63"), "c", "train_ctx_len");
  ExpectFailure(with("num_heads: 3", "num_heads: 5"), "c", "num_heads");
  ExpectFailure(with("  input_ff_dim: 48\n", ""), "c", "input_ff_dim");
  ExpectFailure(good + "forecast: {horizon: 3, prediction_length: 3}\n", "c", "prediction_length");
  ExpectFailure(good + "forecast: {horizon: 0}\n", "c", "horizon");
  ExpectFailure(good + "forecast: {steps: 1}\n", "c", "steps");
}

TEST(ArchHash, WeightModeIsNoPartOfIt) {
  const auto hash = [](const std::string& more) {
    return ArchHash(ParseConfig(kSizes + more, "c", nullptr));
  };
  EXPECT_EQ(hash("weight_mode: fused\n"), hash(""));
  EXPECT_FALSE(hash("eps: 1e-5\n") == hash(""));
  EXPECT_FALSE(hash("use_bias: true\n") == hash(""));
}

}  // namespace
}  // namespace xst::formats
