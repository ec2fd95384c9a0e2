// One small model of every family, packed from random weights.
#pragma once

#include <string>

#include "formats/config_yaml.h"
#include "formats/pack.h"
#include "tests/unit/formats/support.h"

namespace xst::test {

// Both kinds of block, every optional tensor, every kind of output, and a probe.
inline constexpr char kWrapped[] =
    "mlstm_block:\n  mlstm: {num_heads: 2, conv1d_kernel_size: 2, qkv_proj_blocksize: 2,\n"
    "          proj_factor: 1.0, round_proj_up_to_multiple_of: 2}\n"
    "slstm_block:\n  slstm: {num_heads: 2, conv1d_kernel_size: 2}\n"
    "  feedforward: {proj_factor: 1.0, round_proj_up_to_multiple_of: 2, bias: true}\n"
    "num_blocks: 2\nembedding_dim: 4\nslstm_at: [1]\nbias: true\n"
    "stream:\n  rate_hz: 100\n"
    "  inputs: [{name: a, unit: mV, mean: 1, std: 2}, {name: b, missing: mean}]\n"
    "  outputs: [{gaussian: g, of: a, horizon: 2}, {surprise: s, of: g}, {softmax: [p, q]},\n"
    "            {value: v, of: b, residual: true}, {sigmoid: z}, {raw: r}]\n"
    "  warmup: 3\n";
inline constexpr char kLm[] =
    "mlstm_block:\n  mlstm: {num_heads: 1, proj_factor: 0.25, round_proj_up_to_multiple_of: 2,\n"
    "          qkv_proj_blocksize: 2}\n"
    "embedding_dim: 16\nvocab_size: 17\ntie_weights: true\n";
inline constexpr char kLarge[] =
    "embedding_dim: 16\nnum_heads: 1\nnum_blocks: 1\nvocab_size: 17\nqk_dim_factor: 0.25\n"
    "v_dim_factor: 0.25\nffn_proj_factor: 0.5\nffn_round_up_to_multiple_of: 4\nuse_bias: true\n";
inline constexpr char kTirex[] =
    "model_config:\n  input_patch_size: 2\n  output_patch_size: 2\n  quantiles: [0.5, 0.9]\n"
    "  input_ff_dim: 5\n"
    "  block_kwargs: {num_blocks: 1, embedding_dim: 6, num_heads: 2, ffn_proj_factor: 0.2}\n"
    "train_ctx_len: 4\n";

// The bytes of a packed random model, with a probe that leads through the whole directory.
inline std::string SmallModel(const char* yaml, formats::DType dtype) {
  const formats::test::ScratchFolder folder;
  formats::ModelConfig config = formats::ParseConfig(yaml, "c", nullptr);
  if (config.stream) config.stream->encoder_bias = config.stream->head_bias = true;
  WriteSafetensors(folder / "weights.safetensors", formats::test::RandomCheckpoint(config, 3));
  formats::test::WriteText(folder / "config.yaml", yaml);
  formats::PackOptions options;
  options.dtype = dtype;
  formats::Probe probe;
  probe.steps = 1;
  probe.input.assign(InputWidth(config), 0);
  probe.expected.assign(OutputWidth(config), 0.25f);
  probe.expected_stored = probe.framework = probe.expected;
  probe.bound_cpu = probe.bound_cuda = 1;
  formats::test::FixedProbe maker(probe);
  options.probe = &maker;
  PackModel(folder.path(), folder / "m.xst", options);
  return formats::test::ReadText(folder / "m.xst");
}

}  // namespace xst::test
