#include "formats/pack.h"

#include <xxhash.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <map>
#include <memory>
#include <new>
#include <set>

#include "formats/config_yaml.h"
#include "formats/output_file.h"
#include "formats/placement.h"
#include "formats/safetensors.h"
#include "formats/text.h"

namespace xst::formats {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kMaxYaml = uint64_t{1} << 20;
constexpr char kEmbedding[] = "token_embedding.weight", kHead[] = "lm_head.weight";

std::string ShapeText(const std::vector<uint64_t>& shape) {
  std::string text = "[";
  for (size_t i = 0; i < shape.size(); ++i) text += (i ? ", " : "") + std::to_string(shape[i]);
  return text + "]";
}

// The last two axes of the cuda kernel's shape, swapped back, are the vanilla ones.
std::vector<uint64_t> CudaShape(const std::vector<uint64_t>& vanilla) {
  return {vanilla[0], vanilla[2], vanilla[1]};
}

struct Paths {
  std::string weights, config;
};

Paths FindPaths(const std::string& source, const std::string& config) {
  std::error_code ignored;
  Paths paths;
  if (fs::is_directory(source, ignored)) {
    paths.weights = fs::path(source) / "weights.safetensors";
    paths.config = fs::path(source) / "config.yaml";
  } else {
    paths.weights = source;
    paths.config = fs::path(source).parent_path() / "config.yaml";
  }
  if (!config.empty()) paths.config = config;
  return paths;
}

// The checkpoint as the manifest wants it: canonical names, the vanilla layout, f32.
class Checkpoint {
 public:
  Checkpoint(const std::string& path, ParsedConfig* parsed, Remarks* remarks)
      : file_(path), path_(path), config_(parsed->config) {
    if (config_.stream) {
      config_.stream->encoder_bias = config_.stream->encoder && file_.find("encoder.bias");
      config_.stream->head_bias = config_.stream->head && file_.find("head.bias");
    }
    manifest_ = Manifest(config_);
    for (const TensorSpec& spec : manifest_) {
      for (const Source& source : spec.sources) Resolve(source);
    }
    CheckTied();
    for (const auto& entry : file_.entries()) {
      if (!used_.count(entry.name)) problems_.push_back("unused " + Printable(entry.name, 128));
    }
    RemarkLayouts(parsed->slstm_backend, remarks);
  }

  // Reads everything once: refuses what is missing, unused, mis-shaped or not finite, all in one
  // Error. The hash covers the name-sorted sources before any rounding.
  Hash128 Verify() {
    std::unique_ptr<XXH3_state_t, XXH_errorcode (*)(XXH3_state_t*)> state(XXH3_createState(),
                                                                          XXH3_freeState);
    if (!state) throw std::bad_alloc();
    XXH3_128bits_reset(state.get());
    for (const auto& [name, found] : sources_) {
      const std::vector<float> values = Read(name);
      const auto bad =
          std::find_if_not(values.begin(), values.end(), [](float v) { return std::isfinite(v); });
      if (bad != values.end()) {
        problems_.push_back("not finite " + found.entry->name + " (element " +
                            std::to_string(bad - values.begin()) + ")");
      }
      const auto add = [&](uint64_t n) { XXH3_128bits_update(state.get(), &n, sizeof n); };
      add(name.size());
      XXH3_128bits_update(state.get(), name.data(), name.size());
      add(found.shape.size());
      for (const uint64_t axis : found.shape) add(axis);
      XXH3_128bits_update(state.get(), values.data(), values.size() * sizeof(float));
    }
    if (!problems_.empty()) {
      std::string got;
      for (const std::string& problem : problems_) got += (got.empty() ? "" : "; ") + problem;
      throw Error(Status::tensor_mismatch,
                  path_ + ": expected exactly the configuration's tensors, finite, got " + got);
    }
    const XXH128_hash_t hash = XXH3_128bits_digest(state.get());
    return {hash.low64, hash.high64};
  }

  TensorValues Gather(const TensorSpec& spec) const {
    const SlstmHeads heads = HeadsOf(config_);
    TensorValues values(spec.rows * spec.cols);
    for (const Source& source : spec.sources) {
      const std::vector<float> from = Read(source.name);
      ForEachElement(spec, source, heads, [&](uint64_t i, uint64_t at) { values[at] = from[i]; });
    }
    return values;
  }

 private:
  struct Found {
    const Safetensors::Entry* entry;
    std::vector<uint64_t> shape;  // canonical
    Placement placement;
    bool cuda = false;
  };

  void Resolve(const Source& source) {
    std::string name = source.name;
    const bool tied = config_.block_stack.tie_weights && name == kEmbedding;
    if (!file_.find(name)) {
      if (tied) name = kHead;
      if (name.starts_with(kBackbone)) name.erase(0, std::string(kBackbone).size());
    }
    const Safetensors::Entry* entry = file_.find(name);
    if (!entry) {
      problems_.push_back("missing " + source.name);
      return;
    }
    used_.insert(name);
    const bool recurrent = source.placement == Placement::recurrent;
    const bool cuda = recurrent && entry->shape == CudaShape(source.shape);
    if (!cuda && entry->shape != source.shape) {
      problems_.push_back("shape " + ShapeText(entry->shape) + " of " + name + " instead of " +
                          ShapeText(source.shape) +
                          (recurrent ? " or " + ShapeText(CudaShape(source.shape)) : ""));
      return;
    }
    const std::string& dtype = entry->dtype;
    if (dtype != "F32" && dtype != "F16" && dtype != "BF16" && dtype != "F64") {
      problems_.push_back("type " + dtype + " of " + name + " instead of F32, F16, BF16 or F64");
      return;
    }
    sources_[source.name] = {entry, source.shape, source.placement, cuda};
  }

  // A tied file may hold either name, or both with equal content.
  void CheckTied() {
    const Safetensors::Entry* embedding = file_.find(kEmbedding);
    const Safetensors::Entry* head = file_.find(kHead);
    if (!config_.block_stack.tie_weights || !embedding || !head) return;
    used_.insert(kHead);
    if (!sources_.count(kEmbedding)) return;
    if (head->shape != embedding->shape || head->dtype != embedding->dtype ||
        file_.read(*head) != file_.read(*embedding)) {
      problems_.push_back(std::string("with tie_weights, ") + kHead + " other than " + kEmbedding);
    }
  }

  void RemarkLayouts(const std::string& backend, Remarks* remarks) const {
    for (const auto& [name, found] : sources_) {
      if (found.placement != Placement::recurrent) continue;
      const std::string layout = found.cuda ? "cuda" : "vanilla";
      if (layout != backend) {
        remarks->push_back(name + ": stored in the " + layout + " layout though backend is " +
                           backend);
      } else if (found.cuda) {
        remarks->push_back(name + ": converted from the cuda layout");
      }
    }
  }

  // The bias follows the layout of its kernel.
  bool IsCuda(const std::string& name, const Found& found) const {
    if (found.placement == Placement::recurrent) return found.cuda;
    if (found.placement != Placement::recurrent_bias) return false;
    constexpr char kBias[] = "_bias_";
    const std::string kernel =
        name.substr(0, name.size() - (sizeof kBias - 1)) + "_recurrent_kernel_";
    const auto other = sources_.find(kernel);
    return other != sources_.end() && other->second.cuda;
  }

  // The values of a source, in the vanilla layout.
  std::vector<float> Read(const std::string& name) const {
    const Found& found = sources_.at(name);
    std::vector<float> values = file_.read(*found.entry);
    if (!IsCuda(name, found)) return values;
    const SlstmHeads s = HeadsOf(config_);
    std::vector<float> vanilla(values.size());
    const bool bias = found.placement == Placement::recurrent_bias;
    for (uint64_t i = 0; i < vanilla.size(); ++i) {
      uint64_t from;
      if (bias) {  // [gate][head][channel] from [head][gate][channel]
        const uint64_t gate = i / (s.heads * s.dim), head = i / s.dim % s.heads;
        from = (head * 4 + gate) * s.dim + i % s.dim;
      } else {  // [head][row][input] from [head][input][row]
        const uint64_t head = i / (4 * s.dim * s.dim), row = i / s.dim % (4 * s.dim);
        from = (head * s.dim + i % s.dim) * 4 * s.dim + row;
      }
      vanilla[i] = values[from];
    }
    return vanilla;
  }

  Safetensors file_;
  std::string path_;
  ModelConfig& config_;
  std::vector<TensorSpec> manifest_;
  std::map<std::string, Found> sources_;
  std::set<std::string> used_;
  std::vector<std::string> problems_;
};

}  // namespace

Remarks PackModel(const std::string& source, const std::string& path, const PackOptions& options) {
  const Paths paths = FindPaths(source, options.config);
  Remarks remarks;
  WriteRequest request;
  request.config_yaml = ReadAll(paths.config, kMaxYaml);
  ParsedConfig parsed = ParseConfigForPacking(request.config_yaml, paths.config, &remarks);
  Checkpoint checkpoint(paths.weights, &parsed, &remarks);
  request.source_hash = checkpoint.Verify();
  request.config = parsed.config;
  request.dtype = options.dtype;
  request.probe = options.probe;
  const fs::path named = fs::path(source).lexically_normal();
  request.source = (named.has_filename() ? named : named.parent_path()).filename().string();
  WriteModel(path, request, [&](const TensorSpec& spec) { return checkpoint.Gather(spec); });
  return remarks;
}

}  // namespace xst::formats
