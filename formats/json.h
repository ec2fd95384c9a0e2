// JSON text (a hub checkpoint's config.json) as the same tree that YAML gives, without places.
#pragma once

#include <string>
#include <string_view>

#include "formats/yaml.h"

namespace xst::formats {

// Deeper than 16, repeated keys, more than 1 MiB, anything that is not JSON: Error{invalid_config}.
// `name` is the file's.
YamlNode ParseJson(std::string_view text, const std::string& name);

}  // namespace xst::formats
