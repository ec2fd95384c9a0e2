// What several sections of the configuration read alike.
#pragma once

#include <string>

#include "formats/config_reader.h"

namespace xstd {

// A string that must be there. Throw xst::Error with name, line and column, as all below.
std::string ReadText(xst::formats::MapReader* map, const char* key);

// The same of a path, relative to `folder`.
std::string ReadPath(xst::formats::MapReader* map, const char* key, const std::string& folder);

// `name`: 1 to 64 of the characters A-Z a-z 0-9 _ . -
std::string ReadName(xst::formats::MapReader* map);

}  // namespace xstd
