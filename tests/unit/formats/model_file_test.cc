#include "formats/model_file.h"

#include <gtest/gtest.h>

#include <cmath>

#include "formats/config_yaml.h"
#include "formats/pack.h"
#include "tests/unit/formats/support.h"

namespace xst::formats {
namespace {

constexpr char kYaml[] =
    "mlstm_block: {mlstm: {num_heads: 2, round_proj_up_to_multiple_of: 4, qkv_proj_blocksize: 2}}\n"
    "slstm_block: {slstm: {num_heads: 3}, feedforward: {bias: true}}\n"
    "embedding_dim: 18\nnum_blocks: 2\nslstm_at: [1]\nbias: true\n";

class ModelFile : public testing::Test {
 protected:
  // Packs a random checkpoint of this configuration and opens it.
  void Open(const std::string& yaml, DType dtype = DType::f32) {
    const ModelConfig config = ParseConfig(yaml, "c.yaml", nullptr);
    WriteSafetensors(folder_ / "weights.safetensors", test::RandomCheckpoint(config, 11));
    test::WriteText(folder_ / "config.yaml", yaml);
    PackOptions options;
    options.dtype = dtype;
    PackModel(folder_.path(), folder_ / "m.xst", options);
    bytes_ = std::make_unique<test::AlignedBytes>(test::ReadText(folder_ / "m.xst"));
    Fault fault;
    ASSERT_EQ(ReadModel(bytes_->bytes(), Check::full, &directory_, &fault), Status::ok)
        << fault.message;
    weights_ = std::make_unique<Safetensors>(folder_ / "weights.safetensors");
  }
  const StoredTensor& Tensor(const std::string& name) const {
    for (const StoredTensor& t : directory_.tensors) {
      if (t.spec.name == name) return t;
    }
    ADD_FAILURE() << name;
    return directory_.tensors[0];
  }
  std::vector<float> Source(const std::string& name) const {
    const auto* entry = weights_->find(name);
    EXPECT_TRUE(entry) << name;
    return weights_->read(*entry);
  }
  static float Panel(const StoredTensor& t, uint64_t row, uint64_t col) {
    EXPECT_EQ(t.spec.layout, Layout::panel);
    const float* panel = reinterpret_cast<const float*>(t.data) + row / 16 * 16 * t.spec.cols;
    return panel[col * 16 + row % 16];
  }

  test::ScratchFolder folder_;
  std::unique_ptr<test::AlignedBytes> bytes_;
  std::unique_ptr<Safetensors> weights_;
  Directory directory_;
};

TEST_F(ModelFile, SegmentsAreAlignedOrderedAndExact) {
  Open(kYaml);
  const std::byte* end = bytes_->bytes().data();
  for (const StoredTensor& t : directory_.tensors) {
    EXPECT_EQ(reinterpret_cast<uintptr_t>(t.data) % 64, 0u);
    EXPECT_GE(t.data, end) << t.spec.name;
    EXPECT_LT(t.data - end, t.spec.name == "blocks.0.norm" ? 1 << 20 : 64) << t.spec.name;
    EXPECT_EQ(t.length, TensorBytes(t.spec, t.dtype));
    end = t.data + t.length;
  }
  EXPECT_LE(end, bytes_->bytes().data() + bytes_->bytes().size());
  EXPECT_LT(bytes_->bytes().data() + bytes_->bytes().size() - end, 64);
}

TEST_F(ModelFile, PanelsHoldTheMatrix) {
  Open(kYaml);
  const auto up = Source("blocks.0.xlstm.proj_up.weight");
  const StoredTensor& t = Tensor("blocks.0.up");
  ASSERT_EQ(t.spec.rows, 72u);
  for (uint64_t r = 0; r < 72; ++r) {
    for (uint64_t c = 0; c < 18; ++c) ASSERT_EQ(Panel(t, r, c), up[r * 18 + c]);
  }
  for (uint64_t r = 72; r < 80; ++r) {
    for (uint64_t c = 0; c < 18; ++c) ASSERT_EQ(Panel(t, r, c), 0);
  }
  const auto q = Source("blocks.0.xlstm.q_proj.weight");
  const StoredTensor& stored_q = Tensor("blocks.0.q");
  for (uint64_t r = 0; r < 36; ++r) {
    for (uint64_t j = 0; j < 2; ++j) {
      ASSERT_EQ(Panel(stored_q, r, j), q[(r / 2 * 2 + r % 2) * 2 + j]);
    }
  }
}

TEST_F(ModelFile, GatesConvolutionAndBiases) {
  Open(kYaml);
  const uint64_t p = 36;
  const StoredTensor& gates = Tensor("blocks.0.gates");
  ASSERT_EQ(gates.spec.layout, Layout::rows);
  const uint64_t stride = (3 * p + 15) / 16 * 16;
  const auto* rows = reinterpret_cast<const float*>(gates.data);
  const auto igate = Source("blocks.0.xlstm.mlstm_cell.igate.weight");
  const auto fgate = Source("blocks.0.xlstm.mlstm_cell.fgate.weight");
  for (uint64_t h = 0; h < 2; ++h) {
    for (uint64_t c = 0; c < 3 * p; ++c) {
      ASSERT_EQ(rows[h * stride + c], igate[h * 3 * p + c]);
      ASSERT_EQ(rows[(2 + h) * stride + c], fgate[h * 3 * p + c]);
    }
  }
  const auto* bias = reinterpret_cast<const float*>(Tensor("blocks.0.gates.bias").data);
  EXPECT_EQ(bias[1], Source("blocks.0.xlstm.mlstm_cell.igate.bias")[1]);
  EXPECT_EQ(bias[3], Source("blocks.0.xlstm.mlstm_cell.fgate.bias")[1]);
  const auto conv = Source("blocks.0.xlstm.conv1d.conv.weight");
  const auto* taps = reinterpret_cast<const float*>(Tensor("blocks.0.conv.weight").data);
  for (uint64_t k = 0; k < 4; ++k) {
    for (uint64_t c = 0; c < p; ++c) ASSERT_EQ(taps[k * 48 + c], conv[c * 4 + k]);
  }
}

TEST_F(ModelFile, SlstmRowsAreInTrueGateOrder) {
  Open(kYaml);
  const uint64_t heads = 3, dim = 6;
  const StoredTensor& w = Tensor("blocks.1.w");
  const StoredTensor& r = Tensor("blocks.1.r");
  ASSERT_EQ(w.spec.rows, 128u);
  const std::string x = "blocks.1.xlstm.";
  // The input gate is driven by the parameter named fgate, the forget gate by igate.
  const std::vector<float> drives[] = {Source(x + "fgate.weight"), Source(x + "igate.weight"),
                                       Source(x + "zgate.weight"), Source(x + "ogate.weight")};
  const auto kernel = Source(x + "slstm_cell._recurrent_kernel_");
  const auto bias = Source(x + "slstm_cell._bias_");
  const auto* stored_bias = reinterpret_cast<const float*>(Tensor("blocks.1.r.bias").data);
  for (uint64_t g = 0; g < 4; ++g) {
    for (uint64_t h = 0; h < heads; ++h) {
      for (uint64_t o = 0; o < dim; ++o) {
        const uint64_t channel = h * dim + o, row = channel / 16 * 64 + g * 16 + channel % 16;
        for (uint64_t d = 0; d < dim; ++d) {
          ASSERT_EQ(Panel(w, row, d), drives[g][(h * dim + o) * dim + d]);
          ASSERT_EQ(Panel(r, row, d), kernel[(h * 4 * dim + g * dim + o) * dim + d]);
        }
        ASSERT_EQ(stored_bias[row], bias[(g * heads + h) * dim + o]);
      }
    }
  }
  ASSERT_EQ(stored_bias[2 + 64], 0);  // channel 18 is padding
}

TEST_F(ModelFile, EmbeddingsAreGatherTablesUnlessTied) {
  const std::string lm = "mlstm_block: {mlstm: {num_heads: 1}}\nembedding_dim: 6\nvocab_size: 20\n";
  Open(lm);
  EXPECT_EQ(Tensor("embedding").spec.layout, Layout::rows);
  EXPECT_EQ(Tensor("head").spec.layout, Layout::panel);
  EXPECT_TRUE(Tensor("embedding").spec.rounded);
  Open(lm + "tie_weights: true\n");
  EXPECT_EQ(Tensor("embedding").spec.layout, Layout::panel);
}

TEST_F(ModelFile, KeepsConfigProvenanceAndProbe) {
  const ModelConfig config = ParseConfig(
      "mlstm_block: {mlstm: {num_heads: 1, round_proj_up_to_multiple_of: 1}}\nembedding_dim: 2\n"
      "stream:\n  rate_hz: 50.5\n  inputs: [{name: a, unit: mV, mean: 1, std: 2, missing: zero}]\n"
      "  outputs: [{gaussian: g, of: a, horizon: 3, residual: true}, {surprise: s, of: g}]\n"
      "  gaps: {policy: skip, max_s: 2, then: skip}\n  warmup: 4\n",
      "c", nullptr);
  WriteRequest request;
  request.config = config;
  request.source = "caf\xC3\xA9 \xff";
  request.config_yaml = "text";
  request.source_hash = {5, 6};
  request.probe = {2, {1, NAN}, {1, 2, NAN, 3, 4, 5}, {1, 2, NAN, 3, 4, 6}, 0.5f, 0.75f, {}};
  WriteModel(folder_ / "m.xst", request,
             [](const TensorSpec& spec) { return TensorValues(spec.rows * spec.cols, 0.5f); });
  const test::AlignedBytes bytes(test::ReadText(folder_ / "m.xst"));
  Directory d;
  Fault fault;
  ASSERT_EQ(ReadModel(bytes.bytes(), Check::full, &d, &fault), Status::ok) << fault.message;
  EXPECT_EQ(ArchHash(d.config), ArchHash(config));
  EXPECT_EQ(d.arch_hash, ArchHash(config));
  EXPECT_EQ(d.source_hash, (Hash128{5, 6}));
  EXPECT_EQ(d.config_yaml, "text");
  EXPECT_EQ(d.source, "caf?? ?");
  EXPECT_EQ(d.config.stream->rate_hz, 50.5);
  EXPECT_EQ(d.config.stream->outputs[0].horizon, 3u);
  EXPECT_EQ(d.config.stream->outputs[1].of, 0);
  EXPECT_EQ(d.probe.steps, 2u);
  EXPECT_TRUE(std::isnan(d.probe.input[1]));
  EXPECT_EQ(d.probe.expected_stored[5], 6);
  EXPECT_EQ(d.probe.bound_cuda, 0.75f);
  EXPECT_TRUE(d.probe.framework.empty());
}

TEST_F(ModelFile, TheWriterRefusesWhatTheReaderWould) {
  WriteRequest request;
  request.config = ParseConfig("mlstm_block: {}", "c", nullptr);
  const std::string path = folder_ / "m.xst";
  const auto filled = [](float value) {
    return [value](const TensorSpec& spec) { return TensorValues(spec.rows * spec.cols, value); };
  };
  EXPECT_THROW(WriteModel(path, request, filled(NAN)), Error);
  EXPECT_THROW(WriteModel(path, request, [](const TensorSpec&) { return TensorValues(3); }), Error);
  request.dtype = DType::bf16;
  EXPECT_THROW(WriteModel(path, request, filled(3.4e38f)), Error);
  request.config.block_stack.mlstm->heads = 3;
  EXPECT_THROW(WriteModel(path, request, filled(0)), Error);
  EXPECT_EQ(folder_.files(), 0u);
}

TEST_F(ModelFile, MisalignedMemoryIsRefused) {
  Open(kYaml);
  const std::string shifted = std::string(8, ' ') + test::ReadText(folder_ / "m.xst");
  const test::AlignedBytes bytes(shifted);
  Directory d;
  Fault fault;
  EXPECT_EQ(ReadModel(bytes.bytes().subspan(8), Check::full, &d, &fault), Status::invalid_argument);
}

}  // namespace
}  // namespace xst::formats
