#include "formats/yaml.h"

#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/yaml.h>

#include <charconv>
#include <cmath>
#include <initializer_list>
#include <limits>
#include <optional>
#include <sstream>

#include "formats/status.h"
#include "formats/text.h"

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

// Collects events into nodes; throws Error from within the parser.
class TreeBuilder : public YAML::EventHandler {
 public:
  explicit TreeBuilder(const std::string& name) : name_(name) {}

  YamlNode Finish() { return std::move(root_); }

  void OnDocumentStart(const YAML::Mark&) override {}
  void OnDocumentEnd() override {}
  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    Add(Node(YamlNode::Kind::null, mark, "?", anchor));
  }
  void OnAlias(const YAML::Mark& mark, YAML::anchor_t) override {
    Refuse(mark, "expected no alias, got one");
  }
  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& value) override {
    YamlNode node = Node(YamlNode::Kind::scalar, mark, tag, anchor);
    node.quoted = tag == "!";
    node.text = value;
    Add(std::move(node));
  }
  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value) override {
    Open(Node(YamlNode::Kind::sequence, mark, tag, anchor), mark);
  }
  void OnSequenceEnd() override { Close(); }
  void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value) override {
    Open(Node(YamlNode::Kind::map, mark, tag, anchor), mark);
  }
  void OnMapEnd() override { Close(); }

 private:
  struct Level {
    YamlNode node;
    std::optional<YamlNode> key;  // of a map, waiting for its value
  };

  [[noreturn]] void Refuse(const YAML::Mark& mark, const std::string& what) {
    YamlNode at;
    at.line = mark.line + 1;
    at.column = mark.column + 1;
    FailAt(name_, at, what);
  }

  YamlNode Node(YamlNode::Kind kind, const YAML::Mark& mark, const std::string& tag,
                YAML::anchor_t anchor) {
    if (anchor != 0) Refuse(mark, "expected no anchor, got one");
    // yaml-cpp's own: "?" of a plain node, "!" of a quoted scalar.
    const bool own = tag.empty() || tag == "?" || (tag == "!" && kind == YamlNode::Kind::scalar);
    if (!own) Refuse(mark, "expected no tag, got " + Printable(tag));
    YamlNode node;
    node.kind = kind;
    node.line = mark.line + 1;
    node.column = mark.column + 1;
    return node;
  }

  void Open(YamlNode node, const YAML::Mark& mark) {
    if (levels_.size() >= kMaxDepth) {
      Refuse(mark, "expected at most " + std::to_string(kMaxDepth) + " levels, got more");
    }
    levels_.push_back({std::move(node), std::nullopt});
  }

  void Close() {
    YamlNode node = std::move(levels_.back().node);
    levels_.pop_back();
    Add(std::move(node));
  }

  void Add(YamlNode node) {
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

  const std::string& name_;
  std::vector<Level> levels_;
  YamlNode root_;
};

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

YamlNode ParseYaml(std::string_view text, const std::string& name) {
  const YamlNode start;
  if (text.size() > kMaxText) {
    FailAt(name, start,
           "expected at most 1 MiB of YAML, got " + std::to_string(text.size()) + " bytes");
  }
  if (!IsUtf8(text)) FailAt(name, start, "expected UTF-8 text, got other bytes");
  try {
    std::istringstream in{std::string(text)};
    YAML::Parser parser(in);
    TreeBuilder tree(name);
    parser.HandleNextDocument(tree);
    YamlNode root = tree.Finish();
    TreeBuilder second(name);
    if (parser.HandleNextDocument(second)) {
      FailAt(name, second.Finish(), "expected one document, got another");
    }
    return root;
  } catch (const YAML::Exception& e) {
    YamlNode at;
    at.line = e.mark.line + 1;
    at.column = e.mark.column + 1;
    FailAt(name, at, "expected valid YAML, got " + Printable(e.msg, 120));
  }
}

}  // namespace xst::formats
