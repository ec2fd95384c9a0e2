#include "formats/json.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <vector>

#include "formats/status.h"
#include "formats/text.h"

namespace xst::formats {
namespace {

using nlohmann::json;

constexpr size_t kMaxText = size_t{1} << 20;
constexpr size_t kMaxDepth = 16;
constexpr size_t kMaxKeys = 256;  // of one map; far above any configuration

class TreeBuilder : public nlohmann::json_sax<json> {
 public:
  YamlNode root;
  std::string error;

  bool null() override { return Add(YamlNode::Kind::null, "", false); }
  bool boolean(bool value) override { return Plain(value ? "true" : "false"); }
  bool number_integer(int64_t value) override { return Plain(std::to_string(value)); }
  bool number_unsigned(uint64_t value) override { return Plain(std::to_string(value)); }
  bool number_float(double, const std::string& text) override { return Plain(text); }
  bool string(std::string& text) override { return Add(YamlNode::Kind::scalar, text, true); }
  bool binary(binary_t&) override { return Fail("expected JSON, got binary data"); }
  bool start_object(std::size_t) override { return Open(YamlNode::Kind::map); }
  bool start_array(std::size_t) override { return Open(YamlNode::Kind::sequence); }
  bool end_object() override { return Close(); }
  bool end_array() override { return Close(); }
  bool key(std::string& text) override {
    YamlNode& map = *open_.back();
    if (map.keys.size() == kMaxKeys) return Fail("expected at most 256 keys of a map, got more");
    const bool repeated = std::any_of(map.keys.begin(), map.keys.end(),
                                      [&](const YamlNode& key) { return key.text == text; });
    if (repeated) return Fail(Printable(text) + ": expected the key once, got it twice");
    map.keys.push_back(Node(YamlNode::Kind::scalar, text, true));
    return true;
  }
  bool parse_error(std::size_t position, const std::string&, const json::exception&) override {
    return Fail("expected valid JSON, got other text at byte " + std::to_string(position));
  }

 private:
  static YamlNode Node(YamlNode::Kind kind, const std::string& text, bool quoted) {
    YamlNode node;
    node.kind = kind;
    node.line = node.column = 0;
    node.text = text;
    node.quoted = quoted;
    return node;
  }
  bool Plain(const std::string& text) { return Add(YamlNode::Kind::scalar, text, false); }
  bool Add(YamlNode::Kind kind, const std::string& text, bool quoted) {
    YamlNode node = Node(kind, text, quoted);
    if (open_.empty()) {
      root = std::move(node);
    } else {
      open_.back()->items.push_back(std::move(node));
    }
    return true;
  }
  bool Open(YamlNode::Kind kind) {
    if (open_.size() == kMaxDepth) return Fail("expected at most 16 levels, got more");
    Add(kind, "", false);
    open_.push_back(open_.empty() ? &root : &open_.back()->items.back());
    return true;
  }
  bool Close() {
    open_.pop_back();
    return true;
  }
  bool Fail(const std::string& what) {
    error = what;
    return false;
  }

  std::vector<YamlNode*> open_;  // from the root to where values go: an open node never moves
};

}  // namespace

YamlNode ParseJson(std::string_view text, const std::string& name) {
  if (text.size() > kMaxText) {
    throw Error(Status::invalid_config, name + ": expected at most 1 MiB of JSON, got " +
                                            std::to_string(text.size()) + " bytes");
  }
  TreeBuilder builder;
  if (!json::sax_parse(text, &builder)) {
    throw Error(Status::invalid_config, name + ": " + builder.error);
  }
  return std::move(builder.root);
}

}  // namespace xst::formats
