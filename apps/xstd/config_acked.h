// What a stream with an acknowledged source needs beside it.
#pragma once

#include <string>

#include "apps/xstd/config.h"
#include "formats/config_reader.h"

namespace xstd {

// `item`: the stream's entry, `path` its name in messages. Throws xst::Error with line and column.
void CheckAcked(const xst::formats::ConfigSource& file, const xst::formats::YamlNode& item,
                const std::string& path, const StreamConfig& stream, bool has_state_dir);

}  // namespace xstd
