#include "formats/config.h"

namespace xst::formats {

uint32_t StreamOutput::HeadRows() const {
  switch (kind) {
    case OutputKind::gaussian:
      return 2;
    case OutputKind::surprise:
      return 0;
    case OutputKind::softmax:
      return static_cast<uint32_t>(names.size());
    case OutputKind::value:
    case OutputKind::sigmoid:
    case OutputKind::raw:
      return 1;
  }
  return 0;
}

uint32_t StreamConfig::HeadRows() const {
  uint32_t rows = 0;
  for (const StreamOutput& output : outputs) rows += output.HeadRows();
  return rows;
}

std::vector<std::string> StreamConfig::ValueNames() const {
  std::vector<std::string> names;
  for (const StreamOutput& output : outputs) {
    names.insert(names.end(), output.names.begin(), output.names.end());
    if (output.kind == OutputKind::gaussian) names.push_back(output.names[0] + ".sigma");
  }
  return names;
}

uint32_t VocabSize(const ModelConfig& config) {
  if (config.family == Family::lm) return config.block_stack.vocab_size;
  return config.family == Family::large ? config.large.vocab_size : 0;
}

uint32_t InputWidth(const ModelConfig& config) {
  if (VocabSize(config) > 0) return 1;
  if (config.family == Family::tirex) return 2 * config.tirex.patch;
  if (config.stream) return static_cast<uint32_t>(config.stream->inputs.size());
  return config.block_stack.embedding_dim;
}

uint32_t OutputWidth(const ModelConfig& config) {
  if (const uint32_t vocabulary = VocabSize(config)) return vocabulary;
  if (config.family == Family::tirex) {
    return static_cast<uint32_t>(config.tirex.quantiles.size()) * config.tirex.patch;
  }
  if (config.stream && config.stream->head) {
    uint32_t width = 0;
    for (const StreamOutput& output : config.stream->outputs) {
      width += output.kind == OutputKind::gaussian ? 2 : static_cast<uint32_t>(output.names.size());
    }
    return width;
  }
  return config.block_stack.embedding_dim;
}

}  // namespace xst::formats
