#include "formats/config_reader.h"

#include <cmath>

#include "formats/text.h"

namespace xst::formats {
namespace {

std::string Listed(std::initializer_list<const char*> words) {
  std::string text = "one of ";
  size_t i = 0;
  for (const char* word : words) {
    text += (i++ == 0 ? "" : ", ") + std::string(word);
  }
  return text;
}

}  // namespace

MapReader::MapReader(const ConfigSource& source, const YamlNode& node, std::string path)
    : MapReader(source, node, node, std::move(path)) {}

MapReader::MapReader(const ConfigSource& source, const YamlNode& node, const YamlNode& place,
                     std::string path)
    : source_(source),
      node_(node),
      place_(place),
      path_(std::move(path)),
      taken_(node.keys.size()) {
  if (node.kind != YamlNode::Kind::map) {
    FailAt(source.name, node,
           (path_.empty() ? "configuration" : path_) + ": expected a map, got " + node.Describe());
  }
}

const YamlNode* MapReader::Find(const char* key) const {
  for (size_t i = 0; i < node_.keys.size(); ++i) {
    if (node_.keys[i].text == key) return &node_.items[i];
  }
  return nullptr;
}

const YamlNode* MapReader::Take(const char* key) {
  for (size_t i = 0; i < node_.keys.size(); ++i) {
    if (node_.keys[i].text != key) continue;
    taken_[i] = true;
    return &node_.items[i];
  }
  return nullptr;
}

const YamlNode& MapReader::Require(const char* key) {
  const YamlNode* value = Take(key);
  if (!value) Fail(place_, key, "this key", "none");
  return *value;
}

std::optional<MapReader> MapReader::Map(const char* key, bool nullable) {
  const YamlNode* value = Take(key);
  if (!value || (nullable && value->kind == YamlNode::Kind::null)) return std::nullopt;
  if (value->kind != YamlNode::Kind::map) {
    Fail(*value, key, nullable ? "a map or null" : "a map", value->Describe());
  }
  return MapReader(source_, *value, PathOf(key));
}

MapReader MapReader::MapOrEmpty(const char* key) {
  static const YamlNode kEmpty = [] {
    YamlNode node;
    node.kind = YamlNode::Kind::map;
    return node;
  }();
  if (auto map = Map(key, false)) return *map;
  return MapReader(source_, kEmpty, place_, PathOf(key));
}

bool MapReader::Integer(const char* key, int64_t low, int64_t high, uint32_t* value) {
  const YamlNode* node = Take(key);
  if (!node) return false;
  int64_t integer;
  if (!node->IsInteger(&integer) || integer < low || integer > high) {
    const std::string range = std::to_string(low) + " to " + std::to_string(high);
    Fail(*node, key, low == high ? std::to_string(low) : "an integer from " + range,
         node->Describe());
  }
  *value = static_cast<uint32_t>(integer);
  return true;
}

bool MapReader::Number(const char* key, double* value) {
  const YamlNode* node = Take(key);
  if (!node) return false;
  if (!node->IsNumber(value) || !std::isfinite(*value)) {
    Fail(*node, key, "a finite number", node->Describe());
  }
  return true;
}

bool MapReader::Positive(const char* key, double* value) {
  const YamlNode* node = Take(key);
  if (node && !(node->IsNumber(value) && std::isfinite(*value) && *value > 0)) {
    Fail(*node, key, "a positive number", node->Describe());
  }
  return node != nullptr;
}

bool MapReader::Bool(const char* key, bool* value) {
  const YamlNode* node = Take(key);
  if (!node) return false;
  if (!node->IsBool(value)) Fail(*node, key, "true or false", node->Describe());
  return true;
}

bool MapReader::String(const char* key, std::string* value) {
  const YamlNode* node = Take(key);
  if (!node) return false;
  if (!node->IsString()) Fail(*node, key, "a string", node->Describe());
  *value = node->text;
  return true;
}

bool MapReader::Choice(const char* key, std::initializer_list<const char*> words, uint32_t* index) {
  const YamlNode* node = Take(key);
  if (!node) return false;
  uint32_t i = 0;
  for (const char* word : words) {
    if (node->IsString() && node->text == word) {
      *index = i;
      return true;
    }
    ++i;
  }
  Fail(*node, key, Listed(words), node->Describe());
}

void MapReader::Ignore(const char* key, Type type, bool nullable) {
  const YamlNode* node = Take(key);
  if (!node) return;
  bool flag;
  int64_t integer;
  double number;
  const char* expected = nullptr;
  if (nullable && node->kind == YamlNode::Kind::null) type = Type::any;
  switch (type) {
    case Type::any:
      break;
    case Type::boolean:
      if (!node->IsBool(&flag)) expected = "true or false";
      break;
    case Type::integer:
      if (!node->IsInteger(&integer)) expected = "an integer";
      break;
    case Type::number:
      if (!node->IsNumber(&number)) expected = "a number";
      break;
    case Type::string:
      if (!node->IsString()) expected = "a string";
      break;
    case Type::map:
      if (node->kind != YamlNode::Kind::map) expected = "a map";
      break;
  }
  if (expected) Fail(*node, key, expected, node->Describe());
  Remark(*node, key, "no effect on inference");
}

void MapReader::IgnoreChoice(const char* key, std::initializer_list<const char*> words,
                             bool nullable) {
  const YamlNode* node = Find(key);
  if (!node) return;
  if (nullable && node->kind == YamlNode::Kind::null) {
    Take(key);
  } else {
    uint32_t index;
    Choice(key, words, &index);
  }
  Remark(*node, key, "no effect on inference");
}

void MapReader::FinishLeniently() {
  for (size_t i = 0; i < taken_.size(); ++i) {
    if (!taken_[i]) Remark(node_.keys[i], Printable(node_.keys[i].text), "not known, ignored");
  }
}

void MapReader::Finish() {
  for (size_t i = 0; i < taken_.size(); ++i) {
    if (taken_[i]) continue;
    const YamlNode& key = node_.keys[i];
    if (!key.text.empty() && key.text[0] == '_') {
      Remark(key, Printable(key.text), "derived, overwritten");
      continue;
    }
    FailAt(source_.name, key,
           PathOf(Printable(key.text)) + ": expected a known key, got an unknown one");
  }
}

void MapReader::Fail(const YamlNode& at, const char* key, const std::string& expected,
                     const std::string& got) const {
  FailAt(source_.name, at, PathOf(key) + ": expected " + expected + ", got " + got);
}

void MapReader::Remark(const YamlNode& at, const std::string& key, const std::string& what) const {
  if (!source_.remarks) return;
  source_.remarks->push_back(PlaceOf(source_.name, at) + ": " + PathOf(key) + ": " + what);
}

std::string MapReader::PathOf(const std::string& key) const {
  return path_.empty() ? key : path_ + "." + key;
}

}  // namespace xst::formats
