#include "apps/xstd/config_parts.h"

#include <filesystem>
#include <string_view>

namespace xstd {

using xst::formats::MapReader;
using xst::formats::YamlNode;

std::string ReadText(MapReader* map, const char* key) {
  const YamlNode& node = map->Require(key);
  if (!node.IsString() || node.text.empty()) map->Fail(node, key, "a string", node.Describe());
  return node.text;
}

std::string ReadPath(MapReader* map, const char* key, const std::string& folder) {
  return (std::filesystem::path(folder) / ReadText(map, key)).lexically_normal().string();
}

std::string ReadName(MapReader* map) {
  constexpr std::string_view kLetters =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-";
  const YamlNode& node = map->Require("name");
  const std::string& name = node.text;  // `name: 7` is as good as any
  if (node.kind != YamlNode::Kind::scalar || name.empty() || name.size() > 64 ||
      name.find_first_not_of(kLetters) != std::string::npos) {
    map->Fail(node, "name", "1 to 64 of the characters A-Z a-z 0-9 _ . -", node.Describe());
  }
  return name;
}

}  // namespace xstd
