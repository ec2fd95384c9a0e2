// What a YAML parser's events make: the tree, or the refusal of what may not be in a configuration.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "formats/yaml.h"

namespace xst::formats {

// Events of one document in order. All but Finish throw Error{invalid_config}.
class YamlTree {
 public:
  // `name` is the file's and outlives this.
  explicit YamlTree(const std::string& name) : name_(name) {}

  // Throws for a text that no parser should see: too large, not UTF-8.
  static void CheckText(std::string_view text, const std::string& name);

  // Places count from 1; `tag` is empty where the text has none.
  YamlNode Node(YamlNode::Kind kind, int line, int column, bool anchored,
                const std::string& tag) const;
  [[noreturn]] void RefuseAlias(int line, int column) const;

  void Add(YamlNode node);   // null or scalar
  void Open(YamlNode node);  // sequence or map
  void Close();

  YamlNode Finish() { return std::move(root_); }

 private:
  struct Level {
    YamlNode node;
    std::optional<YamlNode> key;  // of a map, waiting for its value
  };

  const std::string& name_;
  std::vector<Level> levels_;
  YamlNode root_;
};

// "NAME:LINE:COLUMN: expected valid YAML, got WHAT".
[[noreturn]] void FailParse(const std::string& name, int line, int column, const std::string& what);

}  // namespace xst::formats
