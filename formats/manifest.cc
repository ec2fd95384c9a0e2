#include "formats/manifest.h"

#include "formats/manifest_builder.h"

namespace xst::formats {

uint64_t TensorBytes(const TensorSpec& spec, DType dtype) {
  const uint64_t size = dtype == DType::f32 ? 4 : dtype == DType::i8 ? 1 : 2;
  if (spec.layout == Layout::rows) return spec.rows * RoundUp(spec.cols * size, 64);
  const uint64_t together = 4 / size;  // columns interleaved in a panel
  return RoundUp(spec.rows, 16) * RoundUp(spec.cols, together) * size;
}

std::vector<TensorSpec> Manifest(const ModelConfig& config) {
  std::vector<TensorSpec> out;
  ManifestBuilder b(&out);
  switch (config.family) {
    case Family::block_stack:
    case Family::lm:
      BlockStackManifest(b, config);
      break;
    case Family::large:
      LargeManifest(b, config.large);
      break;
    case Family::tirex:
      TirexManifest(b, config.tirex);
      break;
  }
  return out;
}

}  // namespace xst::formats
