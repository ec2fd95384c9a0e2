#include "formats/yaml.h"

#include <charconv>
#include <cmath>
#include <initializer_list>
#include <limits>

#include "formats/status.h"
#include "formats/text.h"
#include "formats/yaml_tree.h"

namespace xst::formats {
namespace {

constexpr size_t kMaxText = size_t{1} << 20;
constexpr size_t kMaxDepth = 16;
constexpr size_t kMaxKeys = 256;  // of one map; far above any configuration

bool OneOf(std::string_view text, std::initializer_list<const char*> words) {
  for (const char* word : words) {
    if (text == word) return true;
  }
  return false;
}

bool IsDigit(char c) { return c >= '0' && c <= '9'; }

YamlNode At(int line, int column) {
  YamlNode at;
  at.line = line;
  at.column = column;
  return at;
}

}  // namespace

std::string PlaceOf(const std::string& name, const YamlNode& at) {
  if (at.line == 0) return name;
  return name + ":" + std::to_string(at.line) + ":" + std::to_string(at.column);
}

void FailAt(const std::string& name, const YamlNode& at, const std::string& what) {
  throw Error(Status::invalid_config, PlaceOf(name, at) + ": " + what);
}

bool YamlNode::IsBool(bool* value) const {
  if (kind != Kind::scalar || quoted) return false;
  *value = OneOf(text, {"true", "True", "TRUE", "yes", "Yes", "YES", "on", "On", "ON"});
  return *value || OneOf(text, {"false", "False", "FALSE", "no", "No", "NO", "off", "Off", "OFF"});
}

bool YamlNode::IsInteger(int64_t* value) const {
  if (kind != Kind::scalar || quoted) return false;
  std::string_view digits = text;
  const bool sign = !digits.empty() && (digits[0] == '-' || digits[0] == '+');
  const std::string_view unsigned_digits = digits.substr(sign);
  if (unsigned_digits.empty() || (unsigned_digits[0] == '0' && unsigned_digits.size() > 1)) {
    return false;
  }
  if (digits[0] == '+') digits = unsigned_digits;
  const auto end = digits.data() + digits.size();
  const auto parsed = std::from_chars(digits.data(), end, *value);
  return parsed.ec == std::errc() && parsed.ptr == end && IsDigit(unsigned_digits[0]);
}

bool YamlNode::IsNumber(double* value) const {
  int64_t integer;
  if (IsInteger(&integer)) {
    *value = static_cast<double>(integer);
    return true;
  }
  if (kind != Kind::scalar || quoted) return false;
  std::string_view rest = text;
  const bool negative = !rest.empty() && rest[0] == '-';
  if (negative || (!rest.empty() && rest[0] == '+')) rest.remove_prefix(1);
  if (OneOf(rest, {".inf", ".Inf", ".INF"})) {
    *value = negative ? -std::numeric_limits<double>::infinity()
                      : std::numeric_limits<double>::infinity();
    return true;
  }
  if (OneOf(text, {".nan", ".NaN", ".NAN"})) {
    *value = std::numeric_limits<double>::quiet_NaN();
    return true;
  }
  if (rest.empty() || !(IsDigit(rest[0]) || (rest[0] == '.' && rest.size() > 1))) return false;
  if (rest.size() > 1 && rest[0] == '0' && IsDigit(rest[1])) return false;
  // A whole number too large for an integer has neither mark.
  if (rest.find_first_of(".eE") == std::string_view::npos) return false;
  const auto end = rest.data() + rest.size();
  const auto parsed = std::from_chars(rest.data(), end, *value);
  if (parsed.ec != std::errc() || parsed.ptr != end) return false;
  if (negative) *value = -*value;
  return true;
}

bool YamlNode::IsString() const {
  bool flag;
  double number;
  return kind == Kind::scalar && !IsBool(&flag) && !IsNumber(&number);
}

std::string YamlNode::Describe() const {
  switch (kind) {
    case Kind::null:
      return "null";
    case Kind::sequence:
      return items.empty() ? "an empty list" : "a list";
    case Kind::map:
      return "a map";
    case Kind::scalar:
      break;
  }
  std::string shown = Printable(text);
  if (quoted) shown.insert(0, 1, '"').push_back('"');
  return shown;
}

void YamlTree::CheckText(std::string_view text, const std::string& name) {
  if (text.size() > kMaxText) {
    FailAt(name, At(1, 1),
           "expected at most 1 MiB of YAML, got " + std::to_string(text.size()) + " bytes");
  }
  if (!IsUtf8(text)) FailAt(name, At(1, 1), "expected UTF-8 text, got other bytes");
}

YamlNode YamlTree::Node(YamlNode::Kind kind, int line, int column, bool anchored,
                        const std::string& tag) const {
  YamlNode node = At(line, column);
  if (anchored) FailAt(name_, node, "expected no anchor, got one");
  if (!tag.empty()) FailAt(name_, node, "expected no tag, got " + Printable(tag));
  node.kind = kind;
  return node;
}

void YamlTree::RefuseAlias(int line, int column) const {
  FailAt(name_, At(line, column), "expected no alias, got one");
}

void YamlTree::Open(YamlNode node) {
  if (levels_.size() >= kMaxDepth) {
    FailAt(name_, node, "expected at most " + std::to_string(kMaxDepth) + " levels, got more");
  }
  levels_.push_back({std::move(node), std::nullopt});
}

void YamlTree::Close() {
  YamlNode node = std::move(levels_.back().node);
  levels_.pop_back();
  Add(std::move(node));
}

void YamlTree::Add(YamlNode node) {
  if (levels_.empty()) {
    root_ = std::move(node);
    return;
  }
  Level& level = levels_.back();
  if (level.node.kind == YamlNode::Kind::sequence) {
    level.node.items.push_back(std::move(node));
  } else if (level.key) {
    level.node.keys.push_back(*std::move(level.key));
    level.node.items.push_back(std::move(node));
    level.key.reset();
  } else {
    if (node.kind != YamlNode::Kind::scalar) {
      FailAt(name_, node, "expected a plain key, got " + node.Describe());
    }
    if (level.node.keys.size() >= kMaxKeys) {
      FailAt(name_, node, "expected at most " + std::to_string(kMaxKeys) + " keys, got more");
    }
    for (const YamlNode& key : level.node.keys) {
      if (key.text == node.text) {
        FailAt(name_, node, "expected each key once, got " + Printable(node.text) + " twice");
      }
    }
    level.key = std::move(node);
  }
}

void FailParse(const std::string& name, int line, int column, const std::string& what) {
  FailAt(name, At(line, column), "expected valid YAML, got " + Printable(what, 120));
}

}  // namespace xst::formats
