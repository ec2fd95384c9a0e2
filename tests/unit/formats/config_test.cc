#include "formats/config.h"

#include <gtest/gtest.h>

#include "formats/config_yaml.h"
#include "formats/model_file.h"
#include "tests/unit/formats/support.h"

namespace xst::formats {
namespace {

ModelConfig Parse(const std::string& yaml, std::vector<std::string>* remarks = nullptr) {
  return ParseConfig(yaml, "c.yaml", remarks);
}

ModelConfig Case(const std::string& name) {
  return Parse(
      test::ReadText(std::string(XST_TEST_DATA) + "/block_stack/" + name + "/config.yaml"));
}

std::string FailureOf(const std::string& yaml) {
  try {
    Parse(yaml);
  } catch (const Error& e) {
    EXPECT_TRUE(e.code() == Status::invalid_config || e.code() == Status::unsupported_version);
    return e.what();
  }
  return "accepted";
}

TEST(Config, EveryVectorParses) {
  ASSERT_GE(test::VectorCases().size(), 27u);
  for (const std::string& folder : test::VectorCases()) {
    const std::string path = test::ConfigOf(folder);
    EXPECT_NO_THROW(ParseConfig(test::ReadText(path), path, nullptr)) << folder;
  }
}

TEST(Config, ReadmeSizes) {
  const BlockStackConfig c = Case("readme_config").block_stack;
  EXPECT_EQ(c.embedding_dim, 128u);
  EXPECT_EQ(c.is_slstm, (std::vector<uint8_t>{0, 1, 0, 0, 0, 0, 0}));
  ASSERT_TRUE(c.mlstm && c.slstm && c.slstm->feedforward);
  EXPECT_EQ(c.mlstm->inner, 256u);
  EXPECT_EQ(c.mlstm->qkv_block, 4u);
  EXPECT_EQ(c.slstm->feedforward->inner, 192u);
  EXPECT_FALSE(c.bias);
  EXPECT_TRUE(c.post_blocks_norm);
}

TEST(Config, DerivedSizesFollowIeeeDouble) {
  const BlockStackConfig c = Case("rounding_of_inner_size").block_stack;
  EXPECT_EQ(c.mlstm->inner, 56u);  // 1.1 * 50 is a little above 55
  EXPECT_EQ(c.slstm->feedforward->inner, 56u);
  EXPECT_EQ(Case("effective_blocksize").block_stack.mlstm->qkv_block, 32u);
  const char* down =
      "mlstm_block: {mlstm: {proj_factor: 1.9, round_proj_up_dim_up: false, num_heads: 1}}\n"
      "embedding_dim: 64\n";
  EXPECT_EQ(Parse(down).block_stack.mlstm->inner, 64u);
  const char* larger =
      "mlstm_block: {mlstm: {round_proj_up_to_multiple_of: 1, num_heads: 3}}\nembedding_dim: 3\n";
  EXPECT_EQ(Parse(larger).block_stack.mlstm->qkv_block, 6u);
}

TEST(Config, Defaults) {
  const BlockStackConfig m = Parse("mlstm_block: {}").block_stack;
  EXPECT_EQ(m.is_slstm, std::vector<uint8_t>{0});
  EXPECT_EQ(m.embedding_dim, 128u);
  EXPECT_EQ(m.mlstm->heads, 4u);
  EXPECT_EQ(m.mlstm->conv_kernel, 4u);
  EXPECT_FALSE(m.slstm);
  const BlockStackConfig s = Parse("slstm_block: {}\nnum_blocks: 2\nslstm_at: [0]").block_stack;
  EXPECT_EQ(s.is_slstm, (std::vector<uint8_t>{1, 1}));  // no mLSTM template: all, whatever is said
  EXPECT_EQ(s.slstm->feedforward->act, Activation::gelu);
  EXPECT_TRUE(s.slstm->group_norm_weight);
  EXPECT_FALSE(Parse("slstm_block: {feedforward: null}").block_stack.slstm->feedforward);
  EXPECT_TRUE(Parse("slstm_block: {feedforward: {}}").block_stack.slstm->feedforward);
}

TEST(Config, PositionsOfSlstmBlocks) {
  const std::string both = "mlstm_block: {}\nslstm_block: {}\nnum_blocks: 3\nslstm_at: ";
  const auto blocks = [&](const char* at) { return Parse(both + at).block_stack.is_slstm; };
  EXPECT_EQ(blocks("[-1]"), (std::vector<uint8_t>{0, 0, 1}));
  EXPECT_EQ(blocks("[-3, 0, 0]"), (std::vector<uint8_t>{1, 0, 0}));
  EXPECT_EQ(blocks("all"), (std::vector<uint8_t>{1, 1, 1}));
  EXPECT_EQ(blocks("\"all\""), (std::vector<uint8_t>{1, 1, 1}));
  EXPECT_EQ(blocks("[]"), (std::vector<uint8_t>{0, 0, 0}));
  EXPECT_FALSE(Parse(both + "all").block_stack.mlstm);
  // A template that no block takes may have impossible sizes.
  EXPECT_NO_THROW(
      Parse("mlstm_block: {mlstm: {proj_factor: 0.1, round_proj_up_dim_up: false, num_heads: 5}}\n"
            "slstm_block: {}\nslstm_at: all\n"));
}

TEST(Config, Families) {
  EXPECT_EQ(Parse("mlstm_block: {}\nvocab_size: 7").family, Family::lm);
  EXPECT_EQ(Parse("mlstm_block: {}").family, Family::block_stack);
  EXPECT_EQ(Parse("model: lm\nconfig: {mlstm_block: {}, vocab_size: 7}").block_stack.vocab_size,
            7u);
  EXPECT_TRUE(Case("lm_tied").block_stack.tie_weights);
}

TEST(Config, ScalarsAsPyYamlReadsThem) {
  EXPECT_TRUE(Parse("mlstm_block: {}\nbias: yes").block_stack.bias);
  EXPECT_FALSE(Parse("mlstm_block: {}\nadd_post_blocks_norm: Off").block_stack.post_blocks_norm);
  EXPECT_EQ(Parse("mlstm_block: {mlstm: {proj_factor: 2}}").block_stack.mlstm->inner, 256u);
  EXPECT_EQ(Parse("mlstm_block: {mlstm: {proj_factor: 2e0}}").block_stack.mlstm->inner, 256u);
}

TEST(Config, FieldsWithoutEffectAreRemarked) {
  std::vector<std::string> remarks;
  Parse(
      "mlstm_block: {mlstm: {dropout: 0.1, _inner_embedding_dim: 9}}\n"
      "slstm_block: {slstm: {bias_init: standard, dtype_r: null, forward_clipval: 3,\n"
      "  gradient_recurrent_clipval: 1.0, backend: vanilla, initial_val: [0.0, 1], constants: {a: "
      "1},\n"
      "  num_states: 9}}\n"
      "num_blocks: 2\nslstm_at: [1]\ncontext_length: -1\n_block_map: \"0,1\"\n",
      &remarks);
  const auto has = [&](const std::string& text) {
    for (const std::string& remark : remarks) {
      if (remark.find(text) != std::string::npos) return true;
    }
    return false;
  };
  for (const char* key :
       {"c.yaml:1:32: mlstm_block.mlstm.dropout", "_inner_embedding_dim", "bias_init", "dtype_r",
        "forward_clipval", "gradient_recurrent_clipval", "initial_val", "constants", "num_states",
        "context_length", "_block_map"}) {
    EXPECT_TRUE(has(key)) << key;
  }
}

struct Bad {
  const char* yaml;
  const char* where;  // "LINE:COLUMN: "
  const char* what;
};

TEST(Config, BadFieldsAreNamedWithLineAndColumn) {
  const Bad kBad[] = {
      {"mlstm_block: {}\nnum_block: 2\n", "2:1: ", "num_block: expected a known key"},
      {"mlstm_block:\n  mlstm:\n    heads: 4\n", "3:5: ", "mlstm_block.mlstm.heads"},
      {"mlstm_block:\n  mlstm:\n    num_heads: four\n", "3:16: ", "got four"},
      {"mlstm_block:\n  mlstm:\n    num_heads: 4.0\n", "3:16: ", "expected an integer"},
      {"mlstm_block:\n  mlstm:\n    num_heads: \"4\"\n", "3:16: ", "got \"4\""},
      {"mlstm_block:\n  mlstm:\n    num_heads: 0\n", "3:16: ", "from 1"},
      {"mlstm_block:\n  mlstm:\n    num_heads: 5\n", "3:16: ", "a divisor of the inner dimension"},
      {"mlstm_block:\n  mlstm:\n    num_heads: null\n", "3:16: ", "got null"},
      {"mlstm_block:\n  mlstm:\n    conv1d_kernel_size: 0\n", "3:25: ", "from 1"},
      {"mlstm_block:\n  mlstm:\n    qkv_proj_blocksize: 100\n", "", ""},
      {"mlstm_block:\n  mlstm:\n    qkv_proj_blocksize: 5\n", "3:25: ", "equal blocks"},
      {"mlstm_block:\n  mlstm:\n    qkv_proj_blocksize: 300\n", "3:25: ", "equal blocks"},
      {"mlstm_block:\n  mlstm:\n    proj_factor: \"2\"\n", "3:18: ", "a finite number"},
      {"mlstm_block:\n  mlstm:\n    proj_factor: .nan\n", "3:18: ", "a finite number"},
      {"mlstm_block:\n  mlstm:\n    proj_factor: -1\n", "3:18: ", "an inner dimension"},
      {"mlstm_block:\n  mlstm:\n    proj_factor: 1e300\n", "3:18: ", "an inner dimension"},
      {"mlstm_block: {}\nbias: 1\n", "2:7: ", "true or false"},
      {"mlstm_block: {}\nbias: 'true'\n", "2:7: ", "true or false"},
      {"mlstm_block: {}\nembedding_dim: 010\n", "2:16: ", "an integer"},
      {"mlstm_block: {}\nembedding_dim: 0x10\n", "2:16: ", "an integer"},
      {"mlstm_block: {}\nembedding_dim: 99999999999999999999\n", "2:16: ", "an integer"},
      {"mlstm_block: {}\nembedding_dim: -8\n", "2:16: ", "an integer"},
      {"mlstm_block: {}\nnum_blocks: 0\n", "2:13: ", "from 1"},
      {"mlstm_block: {}\nnum_blocks: 5000\n", "2:13: ", "to 4096"},
      {"mlstm_block: {}\nslstm_block: {}\nslstm_at: [1]\n", "3:12: ", "below 1"},
      {"mlstm_block: {}\nslstm_block: {}\nslstm_at: [-2]\n", "3:12: ", "from -1"},
      {"mlstm_block: {}\nslstm_block: {}\nslstm_at: [a]\n", "3:12: ", "integers"},
      {"mlstm_block: {}\nslstm_block: {}\nslstm_at: some\n", "3:11: ", "a list of integers or all"},
      {"mlstm_block: {}\nslstm_at: [0]\n", "2:11: ", "slstm_block: expected a map"},
      {"num_blocks: 1\n", "1:1: ", "slstm_block: expected a map"},
      {"mlstm_block: 3\n", "1:14: ", "a map or null"},
      {"mlstm_block: {mlstm: null}\n", "1:22: ", "a map"},
      {"slstm_block:\n  slstm: {num_heads: -1}\n", "2:22: ", "from 1"},
      {"slstm_block:\n  slstm: {num_heads: 3}\n", "2:22: ", "a divisor of embedding_dim"},
      {"slstm_block:\n  slstm: {conv1d_kernel_size: -1}\n", "2:31: ", "from 0"},
      {"slstm_block:\n  slstm: {num_gates: 3}\n", "2:22: ", "expected 4"},
      {"slstm_block:\n  slstm: {backend: triton}\n", "2:20: ", "one of vanilla, cuda"},
      {"slstm_block:\n  slstm: {function: gru}\n", "2:21: ", "one of slstm, lstm"},
      {"slstm_block:\n  slstm: {input_shape: SBGNH}\n", "2:24: ", "one of BSGNH"},
      {"slstm_block:\n  slstm: {output_shape: BSH}\n", "2:25: ", "one of BNSH"},
      {"slstm_block:\n  slstm: {gradient_recurrent_clipval: 1.0}\n", "2:39: ", "null with backend"},
      {"slstm_block:\n  slstm: {dtype: int8}\n", "2:18: ", "one of bfloat16"},
      {"slstm_block:\n  slstm: {dtype: null}\n", "2:18: ", "one of bfloat16"},
      {"slstm_block:\n  slstm: {initial_val: [a]}\n", "2:24: ", "a number"},
      {"slstm_block:\n  feedforward: {act_fn: tanh}\n", "2:25: ", "one of gelu"},
      {"slstm_block:\n  feedforward: {ff_type: ffn}\n", "2:26: ", "one of ffn_gated"},
      {"slstm_block:\n  feedforward: 7\n", "2:16: ", "a map"},
      {"model: lm\nconfig: {mlstm_block: {}}\n", "2:9: ", "vocab_size: expected this key"},
      {"model: block_stack\nconfig: {mlstm_block: {}, vocab_size: 3}\n", "2:27: ", "vocab_size"},
      {"model: block_stack\n", "1:1: ", "config: expected this key"},
      {"model: gpt\nconfig: {}\n", "1:8: ", "one of block_stack"},
      {"config: {mlstm_block: {}}\n", "1:1: ", "model: expected this key"},
      {"model: block_stack\nconfig: {mlstm_block: {}}\nextra: 1\n", "3:1: ", "extra"},
      {"mlstm_block: {}\nvocab_size: 0\n", "2:13: ", "from 1"},
      {"mlstm_block: {}\nvocab_size: 16777217\n", "2:13: ", "to 16777216"},
      {"mlstm_block: {}\ndropout: lots\n", "2:10: ", "a number"},
      {"mlstm_block: {}\nbias: true\nbias: true\n", "3:1: ", "twice"},
      {"- 1\n", "1:1: ", "expected a map"},
      {"", "1:1: ", "expected a map"},
  };
  for (const Bad& bad : kBad) {
    const std::string why = FailureOf(bad.yaml);
    if (std::string(bad.where).empty()) {
      EXPECT_EQ(why, "accepted") << bad.yaml;
      continue;
    }
    EXPECT_EQ(why.rfind(std::string("c.yaml:") + bad.where, 0), 0u) << bad.yaml << "\n" << why;
    EXPECT_NE(why.find(bad.what), std::string::npos) << bad.yaml << "\n" << why;
  }
}

TEST(Config, StateIsBounded) {
  const std::string why =
      FailureOf("mlstm_block: {mlstm: {num_heads: 1, proj_factor: 1}}\nembedding_dim: 65536\n");
  EXPECT_NE(why.find("state of one stream"), std::string::npos) << why;
}

TEST(Config, ArchHashSeesEveryPart) {
  const std::string base = "mlstm_block: {}\nslstm_block: {}\nnum_blocks: 2\nslstm_at: [1]\n";
  const Hash128 hash = ArchHash(Parse(base));
  EXPECT_EQ(hash, ArchHash(Parse(base + "context_length: 8\n")));
  for (const char* change :
       {"bias: true\n", "embedding_dim: 64\n", "add_post_blocks_norm: false\n"}) {
    EXPECT_FALSE(hash == ArchHash(Parse(base + change))) << change;
  }
  ModelConfig config = Parse(base);
  config.block_stack.slstm->feedforward->act = Activation::relu;
  EXPECT_FALSE(hash == ArchHash(config));
  config = Parse(base);
  config.block_stack.is_slstm = {1, 0};
  EXPECT_FALSE(hash == ArchHash(config));
}

}  // namespace
}  // namespace xst::formats
