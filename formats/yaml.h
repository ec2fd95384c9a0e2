// YAML text to a tree that keeps places. Hostile text is refused: more
// than 1 MiB, deeper than 16, anchors, aliases, tags, repeated keys, several documents.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace xst::formats {

struct YamlNode {
  enum class Kind { null, scalar, sequence, map };
  Kind kind = Kind::null;
  int line = 1, column = 1;     // 0: not known
  bool quoted = false;          // a quoted scalar is always a string
  std::string text;             // of a scalar
  std::vector<YamlNode> keys;   // of a map; scalars
  std::vector<YamlNode> items;  // of a sequence; of a map the value of each key

  // What a plain scalar means: YAML 1.1 as PyYAML reads it, except that number forms which readers
  // disagree on (octal, sexagesimal, hexadecimal, underscores) are no numbers.
  bool IsBool(bool* value) const;
  bool IsInteger(int64_t* value) const;
  bool IsNumber(double* value) const;  // also of an integer; .inf and .nan too
  bool IsString() const;               // a scalar that is nothing else

  std::string Describe() const;  // for "got …"
};

// `name` is the file's, for messages. Throws Error{invalid_config}.
YamlNode ParseYaml(std::string_view text, const std::string& name);

// "NAME:LINE:COLUMN", or only the name where the place is not known.
std::string PlaceOf(const std::string& name, const YamlNode& at);

// "NAME:LINE:COLUMN: WHAT" as Error{invalid_config}.
[[noreturn]] void FailAt(const std::string& name, const YamlNode& at, const std::string& what);

}  // namespace xst::formats
