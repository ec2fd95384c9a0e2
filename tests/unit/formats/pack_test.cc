#include "formats/pack.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <map>

#include "formats/config_yaml.h"
#include "formats/source.h"
#include "tests/unit/formats/support.h"

namespace xst::formats {
namespace {

std::map<std::string, NamedTensor> ReadTensors(const std::string& path) {
  std::map<std::string, NamedTensor> tensors;
  if (std::filesystem::is_directory(path)) {  // a checkpoint of any number of files
    const SourceTensors all(FindSource(path, ""));
    for (const auto& [name, t] : all.all()) {
      tensors[name] = {name, t.entry->shape, t.file->read(*t.entry)};
    }
    return tensors;
  }
  const Safetensors file(path);
  for (const auto& entry : file.entries()) {
    tensors[entry.name] = {entry.name, entry.shape, file.read(entry)};
  }
  return tensors;
}

std::vector<NamedTensor> Values(const std::map<std::string, NamedTensor>& tensors) {
  std::vector<NamedTensor> list;
  for (const auto& [name, tensor] : tensors) list.push_back(tensor);
  return list;
}

// The two layouts of the sLSTM cell, written from the specification's index formulas (3.3).
NamedTensor CudaKernelToVanilla(const NamedTensor& t) {
  const uint64_t heads = t.shape[0], dim = t.shape[1];
  NamedTensor v{t.name, {heads, 4 * dim, dim}, std::vector<float>(t.values.size())};
  for (uint64_t h = 0; h < heads; ++h) {
    for (uint64_t d = 0; d < dim; ++d) {
      for (uint64_t r = 0; r < 4 * dim; ++r) {
        v.values[(h * 4 * dim + r) * dim + d] = t.values[(h * dim + d) * 4 * dim + r];
      }
    }
  }
  return v;
}

NamedTensor CudaBiasToVanilla(const NamedTensor& t, uint64_t heads) {
  const uint64_t dim = t.values.size() / 4 / heads;
  NamedTensor v = t;
  for (uint64_t g = 0; g < 4; ++g) {
    for (uint64_t h = 0; h < heads; ++h) {
      for (uint64_t o = 0; o < dim; ++o) {
        v.values[(g * heads + h) * dim + o] = t.values[(h * 4 + g) * dim + o];
      }
    }
  }
  return v;
}

// What a checkpoint is in the vanilla layout, with a tied head dropped.
std::map<std::string, NamedTensor> Canonical(std::map<std::string, NamedTensor> tensors,
                                             const ModelConfig& config) {
  if (config.block_stack.tie_weights && tensors.count("lm_head.weight")) {
    NamedTensor t = tensors["lm_head.weight"];
    t.name = "token_embedding.weight";
    tensors.emplace(t.name, t);
    tensors.erase("lm_head.weight");
  }
  if (auto hub = tensors.extract("backbone.embeddings.weight")) {
    hub.key() = hub.mapped().name = "embedding.weight";
    tensors.insert(std::move(hub));
  }
  if (config.family == Family::tirex) return tensors;
  for (auto& [name, t] : tensors) {
    const size_t at = name.find("_recurrent_kernel_");
    if (at == std::string::npos || t.shape[1] > t.shape[2]) continue;
    NamedTensor& bias = tensors[name.substr(0, at) + "_bias_"];
    bias = CudaBiasToVanilla(bias, t.shape[0]);
    t = CudaKernelToVanilla(t);
  }
  return tensors;
}

TEST(Pack, UnpackGivesBackEveryVector) {
  const test::ScratchFolder folder;
  for (const std::string& source : test::VectorCases()) {
    SCOPED_TRACE(source);
    PackModel(source, folder / "m.xst", {});
    UnpackModel(folder / "m.xst", folder / "u.safetensors");
    const std::string path = test::ConfigOf(source);
    const ModelConfig config = ParseConfig(test::ReadText(path), path, nullptr);
    const auto expected = Canonical(ReadTensors(source), config);
    const auto got = ReadTensors(folder / "u.safetensors");
    ASSERT_EQ(got.size(), expected.size());
    for (const auto& [name, t] : expected) {
      ASSERT_TRUE(got.count(name)) << name;
      EXPECT_EQ(got.at(name).shape, t.shape) << name;
      EXPECT_EQ(got.at(name).values, t.values) << name;
    }
  }
  EXPECT_EQ(folder.files(), 2u);
}

Hash128 SourceHash(const std::string& model) {
  const test::AlignedBytes bytes(test::ReadText(model));
  Directory directory;
  Fault fault;
  EXPECT_EQ(ReadModel(bytes.bytes(), Check::full, &directory, &fault), Status::ok) << fault.message;
  return directory.source_hash;
}

class PackTest : public testing::Test {
 protected:
  // A folder with a changed copy of a vector case.
  std::string Changed(const std::string& name,
                      const std::function<void(std::map<std::string, NamedTensor>&)>& change) {
    const std::string from = std::string(XST_TEST_DATA) + "/" + name;
    auto tensors = ReadTensors(from + "/weights.safetensors");
    change(tensors);
    WriteSafetensors(folder_ / "weights.safetensors", Values(tensors));
    test::WriteText(folder_ / "config.yaml", test::ReadText(from + "/config.yaml"));
    return folder_.path();
  }
  Error Failure(const std::string& source, const PackOptions& options = {}) {
    try {
      PackModel(source, folder_ / "m.xst", options);
    } catch (const Error& e) {
      EXPECT_FALSE(std::filesystem::exists(folder_ / "m.xst"));
      return e;
    }
    ADD_FAILURE() << "accepted";
    return Error(Status::ok, "accepted");
  }

  test::ScratchFolder folder_;
};

TEST_F(PackTest, EveryBadTensorIsNamedAtOnce) {
  const std::string source =
      Changed("block_stack/mlstm_defaults", [](std::map<std::string, NamedTensor>& t) {
        t.erase("blocks.0.xlstm.proj_up.weight");
        t.erase("post_blocks_norm.weight");
        t["stray"] = {"stray", {1}, {0}};
        t["blocks.1.xlstm.learnable_skip"].shape = {1, 64};
      });
  const Error e = Failure(source);
  EXPECT_EQ(e.code(), Status::tensor_mismatch);
  const std::string why = e.what();
  for (const char* part :
       {"missing blocks.0.xlstm.proj_up.weight", "missing post_blocks_norm.weight", "unused stray",
        "shape [1, 64] of blocks.1.xlstm.learnable_skip instead of [64]"}) {
    EXPECT_NE(why.find(part), std::string::npos) << part << "\n" << why;
  }
}

TEST_F(PackTest, EveryTensorThatIsNotFiniteIsNamed) {
  const std::string why =
      Failure(Changed("block_stack/mlstm_defaults", [](std::map<std::string, NamedTensor>& t) {
        t["blocks.1.xlstm.q_proj.weight"].values[5] = NAN;
        t["post_blocks_norm.weight"].values[0] = INFINITY;
      })).what();
  for (const char* part : {"not finite blocks.1.xlstm.q_proj.weight (element 5)",
                           "not finite post_blocks_norm.weight (element 0)"}) {
    EXPECT_NE(why.find(part), std::string::npos) << part << "\n" << why;
  }
}

TEST_F(PackTest, TiedFilesMayHoldEitherNameOrBoth) {
  const std::string both =
      Changed("block_stack/lm_tied", [](std::map<std::string, NamedTensor>& t) {
        const NamedTensor& have = t.begin()->second.name.empty() ? t.begin()->second
                                  : t.count("lm_head.weight")    ? t["lm_head.weight"]
                                                                 : t["token_embedding.weight"];
        NamedTensor copy = have;
        for (const char* name : {"lm_head.weight", "token_embedding.weight"}) {
          copy.name = name;
          t[name] = copy;
        }
      });
  PackModel(both, folder_ / "both.xst", {});
  for (const char* dropped : {"lm_head.weight", "token_embedding.weight"}) {
    auto tensors = ReadTensors(both + "/weights.safetensors");
    tensors.erase(dropped);
    const test::ScratchFolder one;
    WriteSafetensors(one / "weights.safetensors", Values(tensors));
    test::WriteText(one / "config.yaml", test::ReadText(both + "/config.yaml"));
    PackModel(one.path(), one / "m.xst", {});
    EXPECT_EQ(SourceHash(one / "m.xst"), SourceHash(folder_ / "both.xst")) << dropped;
  }
  auto tensors = ReadTensors(both + "/weights.safetensors");
  tensors["lm_head.weight"].values[3] += 1;
  WriteSafetensors(folder_ / "weights.safetensors", Values(tensors));
  const Error e = Failure(folder_.path());
  EXPECT_NE(std::string(e.what()).find("lm_head.weight other than"), std::string::npos) << e.what();
}

TEST_F(PackTest, LayoutIsToldByTheKernelsShape) {
  const std::string readme = std::string(XST_TEST_DATA) + "/block_stack/readme_config";
  PackModel(readme, folder_ / "cuda.xst", {});
  // The same weights in the vanilla layout under a YAML that says cuda: the same model, remarked.
  const ModelConfig config = ParseConfig(test::ReadText(readme + "/config.yaml"), "c", nullptr);
  const auto vanilla = Canonical(ReadTensors(readme + "/weights.safetensors"), config);
  WriteSafetensors(folder_ / "v.safetensors", Values(vanilla));
  PackOptions options;
  options.config = readme + "/config.yaml";
  const Remarks remarks = PackModel(folder_ / "v.safetensors", folder_ / "vanilla.xst", options);
  EXPECT_TRUE(std::any_of(remarks.begin(), remarks.end(), [](const std::string& r) {
    return r.find("vanilla layout though backend is cuda") != std::string::npos;
  }));
  EXPECT_EQ(SourceHash(folder_ / "cuda.xst"), SourceHash(folder_ / "vanilla.xst"));
  UnpackModel(folder_ / "cuda.xst", folder_ / "a");
  UnpackModel(folder_ / "vanilla.xst", folder_ / "b");
  EXPECT_EQ(test::ReadText(folder_ / "a"), test::ReadText(folder_ / "b"));
}

TEST_F(PackTest, WrapperBiasesAreOptionalAndThePrefixToo) {
  const std::string source =
      Changed("stream/classifier", [](std::map<std::string, NamedTensor>& t) {
        t.erase("encoder.bias");
        t.erase("head.bias");
        std::map<std::string, NamedTensor> bare;
        for (auto& [name, tensor] : t) {
          if (tensor.name.starts_with("backbone.")) tensor.name.erase(0, 9);
          bare[tensor.name] = tensor;
        }
        t = bare;
      });
  PackModel(source, folder_ / "m.xst", {});
  const test::AlignedBytes bytes(test::ReadText(folder_ / "m.xst"));
  Directory directory;
  Fault fault;
  ASSERT_EQ(ReadModel(bytes.bytes(), Check::full, &directory, &fault), Status::ok) << fault.message;
  EXPECT_FALSE(directory.config.stream->encoder_bias);
  EXPECT_FALSE(directory.config.stream->head_bias);
}

TEST_F(PackTest, OneWeightChangesTheSourceHash) {
  PackModel(Changed("block_stack/slstm_defaults", [](auto&) {}), folder_ / "a.xst", {});
  PackModel(Changed("block_stack/slstm_defaults",
                    [](std::map<std::string, NamedTensor>& t) {
                      t["blocks.1.ffn.proj_up.weight"].values[7] += 0.25f;
                    }),
            folder_ / "b.xst", {});
  EXPECT_FALSE(SourceHash(folder_ / "a.xst") == SourceHash(folder_ / "b.xst"));
}

TEST_F(PackTest, ThePackIsReproducible) {
  const std::string source = std::string(XST_TEST_DATA) + "/stream/forecaster";
  PackModel(source, folder_ / "a.xst", {});
  PackModel(source, folder_ / "b.xst", {});
  EXPECT_EQ(test::ReadText(folder_ / "a.xst"), test::ReadText(folder_ / "b.xst"));
}

TEST_F(PackTest, WrongPathsAndFailedWritesLeaveNothing) {
  EXPECT_EQ(Failure(folder_ / "nowhere").code(), Status::not_found);
  const std::string source = std::string(XST_TEST_DATA) + "/block_stack/kernel_one";
  PackOptions options;
  options.config = folder_ / "nowhere.yaml";
  EXPECT_EQ(Failure(source, options).code(), Status::not_found);
  EXPECT_THROW(PackModel(source, folder_ / "no/such/folder.xst", {}), Error);
  EXPECT_THROW(PackModel(source, folder_.path(), {}), Error);
  EXPECT_EQ(folder_.files(), 0u);
  // An existing file stays as it was.
  test::WriteText(folder_ / "m2.xst", "before");
  EXPECT_THROW(PackModel(folder_ / "nowhere", folder_ / "m2.xst", {}), Error);
  EXPECT_EQ(test::ReadText(folder_ / "m2.xst"), "before");
}

}  // namespace
}  // namespace xst::formats
