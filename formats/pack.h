// From a checkpoint folder or file to a model file, and back to official tensors.
#pragma once

#include <string>
#include <vector>

#include "formats/model_file.h"

namespace xst::formats {

struct PackOptions {
  std::string config;  // YAML path; empty: config.yaml beside the weights
  DType dtype = DType::f32;
  Probe probe;
};

// What a pack has to say beyond success (`xst pack --verbose`): ignored fields, converted layouts.
using Remarks = std::vector<std::string>;

// Packs `source` (a .safetensors file, or a folder with weights.safetensors and config.yaml) into
// `path`. Every missing, unused, mis-shaped or non-finite tensor is named in one Error.
Remarks PackModel(const std::string& source, const std::string& path, const PackOptions& options);

// Writes the stored weights as f32 safetensors under official names.
void UnpackModel(const std::string& model, const std::string& path);

}  // namespace xst::formats
