// The sections of a configuration file; each reads its keys into `out` and leaves none unread.
#pragma once

#include "formats/config_reader.h"
#include "formats/config_yaml.h"

namespace xst::formats {

// The nested configuration of the official package (specification block_stack.md section 1).
void ReadBlockStack(MapReader& map, bool lm, ParsedConfig* out);

// xLSTM Large (specification large.md section 1); `hub`: its config.json (section 3).
void ReadLarge(MapReader& map, bool hub, ModelConfig* out);

// A feed-forward width of Large and TiRex: embedding_dim times the factor under `key`, rounded up
// to a multiple in floating point, which drops an excess below 1 over a multiple.
uint32_t ReadRoundedUpWidth(MapReader& map, const char* key, double factor, uint32_t multiple,
                            uint32_t embedding_dim);

// TiRex (specification tirex.md section 1), and `forecast:` beside it.
void ReadTirex(MapReader& map, ModelConfig* out);
void ReadForecast(MapReader& map, ForecastConfig* out);

// `stream:` (specification stream.md section 1).
void ReadStream(const ConfigSource& source, MapReader& map, uint32_t embedding_dim,
                StreamConfig* out);

}  // namespace xst::formats
