// Checkpoints as users have them, and hostile ones: one clear error each.
#include "formats/source.h"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>

#include "formats/config_yaml.h"
#include "formats/pack.h"
#include "tests/unit/formats/support.h"

namespace xst::formats {
namespace {

constexpr char kIndex[] = "model.safetensors.index.json";
constexpr char kYaml[] =
    "embedding_dim: 16\nnum_heads: 2\nnum_blocks: 2\nvocab_size: 20\nuse_bias: true\n"
    "ffn_round_up_to_multiple_of: 8\n";
constexpr char kHub[] =
    R"({"hidden_size": 16, "num_heads": 2, "num_hidden_layers": 2, "vocab_size": 20, "use_bias": true,
        "ffn_round_up_to_multiple_of": 8, "ffn_proj_factor": 2.6667})";

class SourceTest : public testing::Test {
 protected:
  SourceTest() : tensors_(test::RandomCheckpoint(ParseConfig(kYaml, "c", nullptr), 5)) {}

  void Write(const std::string& name, const std::string& text) {
    test::WriteText(folder_ / name, text);
  }
  // The checkpoint's tensors [begin, end) as one file.
  void WriteTensors(const std::string& name, size_t begin, size_t end) {
    WriteSafetensors(folder_ / name, {tensors_.begin() + static_cast<ptrdiff_t>(begin),
                                      tensors_.begin() + static_cast<ptrdiff_t>(end)});
  }
  // A hub folder of two shards and an index; the index entry of a tensor may be changed.
  void WriteHub(const std::function<std::string(size_t, std::string)>& file_of = {}) {
    Write("config.json", kHub);
    const size_t half = tensors_.size() / 2;
    std::string map;
    for (size_t i = 0; i < tensors_.size(); ++i) {
      std::string file = i < half ? kFirst : kSecond;
      if (file_of) file = file_of(i, file);
      map += (i ? ", \"" : "\"") + tensors_[i].name + "\": \"" + file + "\"";
    }
    Write(kIndex, "{\"metadata\": {\"total_size\": 1}, \"weight_map\": {" + map + "}}");
    WriteTensors(kFirst, 0, half);
    WriteTensors(kSecond, half, tensors_.size());
  }
  void Rename(const std::string& from, const std::string& to) {
    for (NamedTensor& t : tensors_) {
      if (const size_t at = t.name.find(from); at != std::string::npos) {
        t.name.replace(at, from.size(), to);
      }
    }
  }
  std::string Packed() {
    PackModel(folder_.path(), folder_ / "m.xst", {});
    return test::ReadText(folder_ / "m.xst");
  }
  void ExpectFailure(Status status, const std::string& part) {
    try {
      PackModel(folder_.path(), folder_ / "m.xst", {});
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), status) << e.what();
      EXPECT_NE(std::string(e.what()).find(part), std::string::npos) << e.what();
      EXPECT_FALSE(std::filesystem::exists(folder_ / "m.xst"));
      return;
    }
    ADD_FAILURE() << "accepted; expected " << part;
  }

  static constexpr char kFirst[] = "model-00001-of-00002.safetensors";
  static constexpr char kSecond[] = "model-00002-of-00002.safetensors";
  test::ScratchFolder folder_;
  std::vector<NamedTensor> tensors_;
};

// Everything behind the directory: the weights and nothing that names their origin.
std::string Payload(const std::string& file) {
  uint64_t offset;
  std::memcpy(&offset, file.data() + 24, sizeof offset);
  return file.substr(offset);
}

TEST_F(SourceTest, EveryFormOfAFolderGivesTheSameWeights) {
  Write("config.yaml", kYaml);
  WriteTensors("weights.safetensors", 0, tensors_.size());
  const std::string expected = Payload(Packed());
  const auto clear = [&] {
    for (const auto& entry : std::filesystem::directory_iterator(folder_.path())) {
      std::filesystem::remove(entry.path());
    }
  };

  clear();
  Write("config.yaml", std::string("model: large\nconfig: {embedding_dim: 16, num_heads: 2, ") +
                           "num_blocks: 2, vocab_size: 20, use_bias: true, "
                           "ffn_round_up_to_multiple_of: 8}\n");
  WriteTensors("model.safetensors", 0, tensors_.size());
  EXPECT_EQ(Payload(Packed()), expected);

  clear();
  Write("config.yaml", kYaml);
  WriteTensors("model_0.safetensors", 0, 3);
  WriteTensors("model_1.safetensors", 3, 4);
  WriteTensors("model_2.safetensors", 4, tensors_.size());
  EXPECT_EQ(Payload(Packed()), expected);

  clear();
  Rename("embedding.weight", "backbone.embeddings.weight");
  WriteHub();
  EXPECT_EQ(Payload(Packed()), expected);
  std::filesystem::remove(folder_ / kIndex);  // shards that count themselves
  EXPECT_EQ(Payload(Packed()), expected);

  clear();
  Rename("mlstm_layer.q.", "mlstm_layer.query.");
  Rename("mlstm_layer.k.", "mlstm_layer.key.");
  Rename("mlstm_layer.v.", "mlstm_layer.value.");
  WriteHub();
  EXPECT_EQ(Payload(Packed()), expected);
}

TEST_F(SourceTest, FusedWeightsAreTheSingleOnes) {
  Write("config.yaml", kYaml);
  WriteTensors("weights.safetensors", 0, tensors_.size());
  const std::string expected = Payload(Packed());
  const ModelConfig fused = ParseConfig(kYaml + std::string("weight_mode: fused\n"), "c", nullptr);
  std::vector<NamedTensor> whole;
  for (const TensorSpec& spec : Manifest(fused)) {
    for (const Source& source : spec.sources) whole.push_back({source.name, source.shape, {}});
  }
  // Row-wise concatenation in the order of specification large.md section 2.
  const std::vector<std::pair<std::string, std::vector<std::string>>> parts = {
      {"mlstm_layer.qkv_opreact",
       {"mlstm_layer.q", "mlstm_layer.k", "mlstm_layer.v", "mlstm_layer.ogate_preact"}},
      {"mlstm_layer.ifgate_preact", {"mlstm_layer.igate_preact", "mlstm_layer.fgate_preact"}},
      {"ffn.proj_up_gate_z", {"ffn.proj_up_gate", "ffn.proj_up"}}};
  const auto find = [&](const std::string& name) -> const NamedTensor& {
    return *std::find_if(tensors_.begin(), tensors_.end(),
                         [&](const NamedTensor& t) { return t.name == name; });
  };
  for (NamedTensor& t : whole) {
    std::vector<std::string> names = {t.name};
    for (const auto& [name, single] : parts) {
      const size_t at = t.name.find(name);
      if (at == std::string::npos) continue;
      names.clear();
      for (const std::string& s : single) {
        names.push_back(std::string(t.name).replace(at, name.size(), s));
      }
    }
    for (const std::string& name : names) {
      const NamedTensor& from = find(name);
      t.values.insert(t.values.end(), from.values.begin(), from.values.end());
    }
  }
  // The tensors decide, as the package's own loader ignores what the file says.
  WriteSafetensors(folder_ / "weights.safetensors", whole);
  EXPECT_EQ(Payload(Packed()), expected);
}

TEST_F(SourceTest, TiedHubCheckpointsHoldOneEmbedding) {
  Write("config.json", std::string(kHub).replace(1, 0, "\"tie_word_embeddings\": true, "));
  Rename("embedding.weight", "backbone.embeddings.weight");
  const auto head = std::find_if(tensors_.begin(), tensors_.end(),
                                 [](const NamedTensor& t) { return t.name == "lm_head.weight"; });
  ASSERT_NE(head, tensors_.end());
  WriteTensors("model.safetensors", 0, tensors_.size());
  ExpectFailure(Status::tensor_mismatch, "lm_head.weight other than backbone.embeddings.weight");
  head->values = tensors_.front().values;
  WriteTensors("model.safetensors", 0, tensors_.size());
  const std::string both = Payload(Packed());
  std::filesystem::remove(folder_ / "m.xst");
  tensors_.erase(head);
  WriteTensors("model.safetensors", 0, tensors_.size());
  EXPECT_EQ(Payload(Packed()), both);
}

TEST_F(SourceTest, AMissingShardIsNamed) {
  WriteHub();
  std::filesystem::remove(folder_ / kSecond);
  ExpectFailure(Status::not_found, kSecond);
  std::filesystem::remove(folder_ / kIndex);
  ExpectFailure(Status::not_found, kSecond);
}

TEST_F(SourceTest, AnIndexMustNotLeaveTheFolder) {
  for (const char* name : {"../model.safetensors", "/etc/passwd", "a/b.safetensors", "..", ".", "",
                           "a\\\\b", "a\\u0000b"}) {
    WriteHub([&](size_t i, const std::string& file) { return i == 3 ? name : file; });
    ExpectFailure(Status::corrupt, "a file in the same folder");
  }
}

TEST_F(SourceTest, AnIndexMustAgreeWithItsShards) {
  WriteHub([](size_t i, const std::string& file) { return i == 0 ? std::string(kSecond) : file; });
  ExpectFailure(Status::tensor_mismatch, "the tensors that the index says");
  WriteHub();
  std::string index = test::ReadText(folder_ / kIndex);
  Write(kIndex, index.insert(index.rfind("}}"), std::string(", \"ghost\": \"") + kFirst + "\""));
  ExpectFailure(Status::tensor_mismatch, "ghost");
  WriteHub();
  WriteTensors(kSecond, 0, tensors_.size());
  ExpectFailure(Status::tensor_mismatch, "each tensor in one file");
}

TEST_F(SourceTest, HostileIndexTextIsRefused) {
  WriteHub();
  for (const auto& [text, part] : std::initializer_list<std::pair<std::string, const char*>>{
           {"", "valid JSON"},
           {"{", "valid JSON"},
           {"{}", "weight_map"},
           {"[]", "weight_map"},
           {R"({"weight_map": {}})", "weight_map"},
           {R"({"weight_map": 3})", "weight_map"},
           {R"({"weight_map": []})", "weight_map"},
           {R"({"weight_map": {"a": 3}})", "weight_map"},
           {R"({"weight_map": {"a": {"b": "c"}}})", "weight_map"},
           {R"({"weight_map": {"a": ["b"]}})", "weight_map"},
           {R"({"weight_map": {"a": "b", "a": "c"}})", "twice"},
           {R"({"weight_map": {"a": "b"}, "weight_map": {"c": "d"}})", "one weight_map"},
           {"{\"metadata\": " + std::string(1'000'000, '[') + std::string(1'000'000, ']') + "}",
            "16 levels"},
           {"{\"weight_map\": " + std::string(1'000'000, '{'), "valid JSON"}}) {
    Write(kIndex, text);
    ExpectFailure(Status::corrupt, part);
  }
}

TEST_F(SourceTest, ATensorInTwoFilesIsRefused) {
  Write("config.yaml", kYaml);
  WriteTensors("model_0.safetensors", 0, 4);
  WriteTensors("model_1.safetensors", 3, tensors_.size());
  ExpectFailure(Status::tensor_mismatch, "each tensor in one file");
}

TEST_F(SourceTest, ConfigurationAndWeightsMustAgree) {
  WriteHub();
  Write("config.json", std::string(kHub).replace(1, 0, "\"add_out_norm\": false, "));
  ExpectFailure(Status::tensor_mismatch, "unused backbone.out_norm.weight");
  Write("config.json", R"({"hidden_size": 16, "num_heads": 2, "num_hidden_layers": 3,
        "vocab_size": 20, "use_bias": true, "ffn_round_up_to_multiple_of": 8})");
  ExpectFailure(Status::tensor_mismatch, "missing backbone.blocks.2.norm_mlstm.weight");
  Write("config.json", R"({"hidden_size": 16, "num_heads": 2, "num_hidden_layers": 2,
        "vocab_size": 21, "use_bias": true, "ffn_round_up_to_multiple_of": 8})");
  ExpectFailure(Status::tensor_mismatch, "shape [20, 16] of embedding.weight instead of [21, 16]");
}

TEST_F(SourceTest, NothingThereIsSaid) {
  ExpectFailure(Status::not_found, "weights.safetensors");
  WriteTensors("model.safetensors", 0, tensors_.size());
  ExpectFailure(Status::not_found, "config.yaml or config.json");
  std::filesystem::create_directory(folder_ / "config.yaml");
  ExpectFailure(Status::io_error, "config.yaml");
}

TEST_F(SourceTest, AnchorsInAYamlConfigurationAreRefused) {
  WriteTensors("weights.safetensors", 0, tensors_.size());
  Write("config.yaml", "embedding_dim: &d 16\nnum_heads: 2\nnum_blocks: *d\nvocab_size: 20\n");
  ExpectFailure(Status::invalid_config, "anchor");
}

}  // namespace
}  // namespace xst::formats
