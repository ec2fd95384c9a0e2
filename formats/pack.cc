#include "formats/pack.h"

#include <xxhash.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <limits>
#include <map>
#include <memory>
#include <new>
#include <set>

#include "formats/config_yaml.h"
#include "formats/output_file.h"
#include "formats/placement.h"
#include "formats/source.h"
#include "formats/text.h"

namespace xst::formats {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kMaxYaml = uint64_t{1} << 20;
constexpr size_t kNamedProblems = 1000;
constexpr char kHead[] = "lm_head.weight";

std::string ShapeText(const std::vector<uint64_t>& shape) {
  std::string text = "[";
  for (size_t i = 0; i < shape.size(); ++i) text += (i ? ", " : "") + std::to_string(shape[i]);
  return text + "]";
}

// The last two axes of the cuda kernel's shape, swapped back, are the vanilla ones.
std::vector<uint64_t> CudaShape(const std::vector<uint64_t>& vanilla) {
  return {vanilla[0], vanilla[2], vanilla[1]};
}

// Under which names a checkpoint may hold a source, best first.
std::vector<std::string> NamesOf(const ModelConfig& config, const std::string& name) {
  std::vector<std::string> names = {name};
  const auto add = [&](const char* part, const char* other) {
    const size_t at = name.find(part);
    if (at == std::string::npos) return;
    names.push_back(std::string(name).replace(at, std::string(part).size(), other));
  };
  if (config.family == Family::large) {  // specification large.md section 3
    if (name == "embedding.weight") names.push_back("backbone.embeddings.weight");
    add(".mlstm_layer.q.", ".mlstm_layer.query.");
    add(".mlstm_layer.k.", ".mlstm_layer.key.");
    add(".mlstm_layer.v.", ".mlstm_layer.value.");
  } else if (config.family == Family::tirex) {
    names.push_back("block_stack." + name);  // as its own checkpoint has some
  } else if (name.starts_with(kBackbone)) {
    add(kBackbone, "");
  }
  return names;
}

// The embedding that is also the head; empty where they are not tied.
std::string TiedEmbedding(const ModelConfig& config) {
  if (config.family == Family::lm && config.block_stack.tie_weights)
    return "token_embedding.weight";
  if (config.family == Family::large && config.large.tie_weights) return "embedding.weight";
  return "";
}

// Tells how far one pass over the sources is.
class Progress {
 public:
  Progress(const PackOptions& options, const char* what, uint64_t total)
      : options_(options), what_(what), total_(total) {}
  void Add(uint64_t bytes) const {
    done_ += bytes;
    if (options_.progress) options_.progress(what_, done_, total_);
  }

 private:
  const PackOptions& options_;
  const char* what_;
  uint64_t total_;
  mutable uint64_t done_ = 0;
};

// The usual loop stops early and is slow.
bool AllFinite(const std::vector<float>& values) {
  bool finite = true;
  for (const float v : values) finite &= std::abs(v) <= std::numeric_limits<float>::max();
  return finite;
}

// The checkpoint as the manifest wants it: canonical names, the vanilla layout, f32.
class Checkpoint {
 public:
  Checkpoint(const SourceFiles& files, const std::string& label, ParsedConfig* parsed,
             Remarks* remarks)
      : tensors_(files), label_(label), config_(parsed->config) {
    ConfigFromTensors(remarks);
    manifest_ = Manifest(config_);
    for (const TensorSpec& spec : manifest_) {
      for (const Source& source : spec.sources) Resolve(source);
    }
    CheckTied();
    for (const auto& [name, tensor] : tensors_.all()) {
      if (!used_.count(name)) problems_.push_back("unused " + Printable(name, 128));
    }
    RemarkLayouts(parsed->slstm_backend, remarks);
  }

  // Of all sources, as they are stored.
  uint64_t bytes() const {
    uint64_t sum = 0;
    for (const auto& [name, found] : sources_) sum += found.tensor.entry->length;
    return sum;
  }
  bool all_bf16() const {
    return std::all_of(sources_.begin(), sources_.end(), [](const auto& source) {
      return source.second.tensor.entry->dtype == "BF16";
    });
  }

  // Refuses what is missing, unused or mis-shaped, all in one Error, then reads everything once and
  // refuses what is not finite. The hash covers the name-sorted sources before any rounding.
  Hash128 Verify(const Progress& progress) {
    std::unique_ptr<XXH3_state_t, XXH_errorcode (*)(XXH3_state_t*)> state(XXH3_createState(),
                                                                          XXH3_freeState);
    if (!state) throw std::bad_alloc();
    XXH3_128bits_reset(state.get());
    Refuse();  // before the long read
    for (const auto& [name, found] : sources_) {
      const std::vector<float> values = Read(name);
      if (!AllFinite(values)) {
        const auto bad = std::find_if_not(values.begin(), values.end(),
                                          [](float v) { return std::isfinite(v); });
        problems_.push_back("not finite " + found.tensor.entry->name + " (element " +
                            std::to_string(bad - values.begin()) + ")");
      }
      const auto add = [&](uint64_t n) { XXH3_128bits_update(state.get(), &n, sizeof n); };
      add(name.size());
      XXH3_128bits_update(state.get(), name.data(), name.size());
      add(found.shape.size());
      for (const uint64_t axis : found.shape) add(axis);
      XXH3_128bits_update(state.get(), values.data(), values.size() * sizeof(float));
      progress.Add(found.tensor.entry->length);
    }
    Refuse();
    const XXH128_hash_t hash = XXH3_128bits_digest(state.get());
    return {hash.low64, hash.high64};
  }

  TensorValues Gather(const TensorSpec& spec, const Progress& progress) const {
    const SlstmHeads heads = HeadsOf(config_);
    TensorValues values(spec.rows * spec.cols);
    for (const Source& source : spec.sources) {
      const Found& found = sources_.at(source.name);
      if (source.placement == Placement::rows) {  // without a second copy of what may be large
        const uint64_t first = source.offset * (spec.rows == 1 ? 1 : spec.cols);
        found.tensor.file->read(*found.tensor.entry, values.data() + first);
      } else {
        const std::vector<float> from = Read(source.name);
        ForEachElement(spec, source, heads, [&](uint64_t i, uint64_t at) { values[at] = from[i]; });
      }
      progress.Add(found.tensor.entry->length);
    }
    return values;
  }

 private:
  struct Found {
    SourceTensors::Tensor tensor;
    std::vector<uint64_t> shape;  // canonical
    Placement placement;
    bool cuda = false;
  };

  void Refuse() const {
    if (problems_.empty()) return;
    std::string got;
    for (size_t i = 0; i < std::min(problems_.size(), kNamedProblems); ++i) {
      got += (i ? "; " : "") + problems_[i];
    }
    if (problems_.size() > kNamedProblems) {
      got += "; and " + std::to_string(problems_.size() - kNamedProblems) + " more";
    }
    throw Error(Status::tensor_mismatch,
                label_ + ": expected exactly the configuration's tensors, finite, got " + got);
  }

  // What the tensors decide: biases around a stack, and whether Large's maps are fused.
  void ConfigFromTensors(Remarks* remarks) {
    if (config_.stream) {
      config_.stream->encoder_bias = config_.stream->encoder && tensors_.find("encoder.bias");
      config_.stream->head_bias = config_.stream->head && tensors_.find("head.bias");
    }
    if (config_.family != Family::large) return;
    const bool fused = tensors_.find("backbone.blocks.0.mlstm_layer.qkv_opreact.weight");
    if (fused != config_.large.fused) {
      remarks->push_back(label_ + ": weights are " + (fused ? "fused" : "single") +
                         " though weight_mode is " + (config_.large.fused ? "fused" : "single"));
    }
    config_.large.fused = fused;
  }

  void Resolve(const Source& source) {
    std::vector<std::string> names = NamesOf(config_, source.name);
    if (source.name == TiedEmbedding(config_)) names.push_back(kHead);
    const auto has = [&](const std::string& name) { return tensors_.find(name) != nullptr; };
    const auto at = std::find_if(names.begin(), names.end(), has);
    if (at == names.end()) {
      problems_.push_back("missing " + source.name);
      return;
    }
    const SourceTensors::Tensor tensor = *tensors_.find(*at);
    const std::string& name = *at;
    const std::vector<uint64_t>& shape = tensor.entry->shape;
    used_.insert(name);
    const bool recurrent = source.placement == Placement::recurrent;
    const bool cuda = recurrent && shape == CudaShape(source.shape);
    if (!cuda && shape != source.shape) {
      problems_.push_back("shape " + ShapeText(shape) + " of " + name + " instead of " +
                          ShapeText(source.shape) +
                          (recurrent ? " or " + ShapeText(CudaShape(source.shape)) : ""));
      return;
    }
    const std::string& dtype = tensor.entry->dtype;
    if (dtype != "F32" && dtype != "F16" && dtype != "BF16" && dtype != "F64") {
      problems_.push_back("type " + dtype + " of " + name + " instead of F32, F16, BF16 or F64");
      return;
    }
    sources_[source.name] = {tensor, source.shape, source.placement, cuda};
  }

  // A tied checkpoint may hold either name, or both with equal content.
  void CheckTied() {
    const auto embedding = sources_.find(TiedEmbedding(config_));
    const SourceTensors::Tensor* head = tensors_.find(kHead);
    if (embedding == sources_.end() || !head) return;
    used_.insert(kHead);
    const SourceTensors::Tensor& other = embedding->second.tensor;
    if (head->entry == other.entry) return;
    if (head->entry->shape != other.entry->shape || head->entry->dtype != other.entry->dtype ||
        head->file->read(*head->entry) != other.file->read(*other.entry)) {
      problems_.push_back(std::string("with tied weights, ") + kHead + " other than " +
                          other.entry->name);
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
    std::vector<float> values = found.tensor.file->read(*found.tensor.entry);
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

  SourceTensors tensors_;
  std::string label_;  // of the checkpoint, in messages
  ModelConfig& config_;
  std::vector<TensorSpec> manifest_;
  std::map<std::string, Found> sources_;
  std::set<std::string> used_;
  std::vector<std::string> problems_;
};

struct Opened {
  SourceFiles files;
  std::string label, config_yaml;
  Remarks remarks;
  ParsedConfig parsed;
};

Opened Open(const std::string& source, const PackOptions& options) {
  Opened o;
  o.files = FindSource(source, options.config);
  // One file speaks for itself, several by their folder.
  o.label = o.files.weights.size() == 1 ? o.files.weights[0] : source;
  o.config_yaml = ReadAll(o.files.config, kMaxYaml);
  o.parsed = ParseConfigForPacking(o.config_yaml, o.files.config, &o.remarks);
  return o;
}

}  // namespace

Remarks PackModel(const std::string& source, const std::string& path, const PackOptions& options) {
  Opened o = Open(source, options);
  Checkpoint checkpoint(o.files, o.label, &o.parsed, &o.remarks);
  WriteRequest request;
  request.config_yaml = o.config_yaml;
  request.source_hash = checkpoint.Verify({options, "checking", checkpoint.bytes()});
  request.config = o.parsed.config;
  request.dtype = options.dtype;
  request.rounder = options.rounder;
  if (options.probe) options.probe->Begin(request.config, &request.probe);
  const fs::path named = fs::path(source).lexically_normal();
  request.source = (named.has_filename() ? named : named.parent_path()).filename().string();
  const Progress writing(options, "writing", checkpoint.bytes());
  std::function<void(const std::string&, Probe*)> prove;
  if (options.probe) {
    prove = [&](const std::string& model, Probe* probe) { options.probe->Finish(model, probe); };
  }
  WriteModel(
      path, request, [&](const TensorSpec& spec) { return checkpoint.Gather(spec, writing); },
      prove);
  return std::move(o.remarks);
}

DType LosslessDType(const std::string& source, const PackOptions& options) {
  Opened o = Open(source, options);
  return Checkpoint(o.files, o.label, &o.parsed, &o.remarks).all_bf16() ? DType::bf16 : DType::f32;
}

}  // namespace xst::formats
