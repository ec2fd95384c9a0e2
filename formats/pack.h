// From a checkpoint folder or file to a model file, and back to official tensors.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "formats/model_file.h"

namespace xst::formats {

// Makes the probe of a model while it is packed.
class ProbeMaker {
 public:
  virtual ~ProbeMaker() = default;
  // Sets steps, input and, where there is one, the framework's output.
  virtual void Begin(const ModelConfig& config, Probe* probe) = 0;
  // Sets the reference's outputs and the bounds. `model` is the packed file, complete but for them.
  virtual void Finish(const std::string& model, Probe* probe) = 0;
};

struct PackOptions {
  std::string config;  // YAML or hub JSON; empty: config.yaml or config.json beside the weights
  DType dtype = DType::f32;
  ProbeMaker* probe = nullptr;  // null: no probe
  Rounder* rounder = nullptr;   // null: every weight to the nearest
  // Told while it works: what is done, and how much of it in source bytes. May be empty.
  std::function<void(const char* what, uint64_t done, uint64_t total)> progress;
};

// What a pack has to say beyond success (`xst pack --verbose`): ignored fields, converted layouts.
using Remarks = std::vector<std::string>;

// Packs `source` (see FindSource) into `path`, tensor by tensor: memory is bounded by the largest.
// Every missing, unused or mis-shaped tensor is named in one Error, and so is every non-finite one.
Remarks PackModel(const std::string& source, const std::string& path, const PackOptions& options);

// The smallest type that holds every weight of `source` as it is: bf16 for a checkpoint of bf16
// tensors, else f32.
DType LosslessDType(const std::string& source, const PackOptions& options);

// Writes the stored weights as f32 safetensors under official names.
void UnpackModel(const std::string& model, const std::string& path);

}  // namespace xst::formats
