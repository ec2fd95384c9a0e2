// Configuration files of every family (and `stream:`, `forecast:`) to a resolved ModelConfig.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "formats/config.h"

namespace xst::formats {

// What the text means, and what only packing needs.
struct ParsedConfig {
  ModelConfig config;
  std::string slstm_backend = "cuda";  // "vanilla" or "cuda": the layout that the YAML claims
};

// Parses a conformance-style file (`model:` and `config:` keys), the fields of xLSTM Large or
// TiRex's hyper-parameters at top level, or a bare nested config (`vocab_size`: lm, else
// block_stack); with `stream:` or, for TiRex, `forecast:`. A `name` that ends in .json is the
// config.json of a hub checkpoint of xLSTM Large. Resolves defaults and derived sizes and
// validates. Unknown or mistyped fields, anchors, aliases, tags, more than 1 MiB:
// Error{invalid_config} naming `name`, line and column. Fields without effect are appended to
// `remarks` (may be null). encoder_bias and head_bias stay false: the tensors decide them.
ModelConfig ParseConfig(std::string_view text, const std::string& name,
                        std::vector<std::string>* remarks);
ParsedConfig ParseConfigForPacking(std::string_view text, const std::string& name,
                                   std::vector<std::string>* remarks);

}  // namespace xst::formats
