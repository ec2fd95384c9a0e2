// A checkpoint as users have it: which files hold its configuration and its tensors.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "formats/safetensors.h"

namespace xst::formats {

struct SourceFiles {
  std::string config;
  std::vector<std::string> weights;
  std::map<std::string, std::string> index;  // tensor -> weights file, where an index says so
};

// `source`: a .safetensors file, or a folder with config.yaml or config.json and one of
// model.safetensors.index.json and its shards, weights.safetensors, model.safetensors,
// model-00001-of-0000N.safetensors and on, model_0.safetensors and on. `config`: another
// configuration, or empty. Throws Error naming what is not there.
SourceFiles FindSource(const std::string& source, const std::string& config);

// The `weight_map` of an index: tensor -> name of a file in the same folder. `name` is the index's.
// Throws Error{corrupt}, also for a name that leads out of the folder.
std::map<std::string, std::string> ParseIndex(std::string_view text, const std::string& name);

// The tensors of all files of a checkpoint.
class SourceTensors {
 public:
  struct Tensor {
    const Safetensors* file;
    const Safetensors::Entry* entry;
  };

  // Opens every file. Throws Error if one is bad, two hold the same name, or the index disagrees.
  explicit SourceTensors(const SourceFiles& files);

  const Tensor* find(const std::string& name) const;  // null if absent
  const std::map<std::string, Tensor>& all() const { return tensors_; }

 private:
  std::vector<std::unique_ptr<Safetensors>> files_;
  std::map<std::string, Tensor> tensors_;
};

}  // namespace xst::formats
