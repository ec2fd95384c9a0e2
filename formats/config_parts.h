// The sections of a configuration file; each reads its keys into `out` and leaves none unread.
#pragma once

#include "formats/config_reader.h"
#include "formats/config_yaml.h"

namespace xst::formats {

// The nested configuration of the official package (specification block_stack.md section 1).
void ReadBlockStack(MapReader& map, bool lm, ParsedConfig* out);

// `stream:` (specification stream.md section 1).
void ReadStream(const ConfigSource& source, MapReader& map, uint32_t embedding_dim,
                StreamConfig* out);

}  // namespace xst::formats
