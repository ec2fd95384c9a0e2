#include "formats/config_yaml.h"

#include "formats/config_parts.h"
#include "formats/json.h"
#include "formats/model_file.h"

namespace xst::formats {
namespace {

void ReadFamily(MapReader& map, Family family, ParsedConfig* out) {
  switch (family) {
    case Family::block_stack:
    case Family::lm:
      return ReadBlockStack(map, family == Family::lm, out);
    case Family::large:
      return ReadLarge(map, false, &out->config);
    case Family::tirex:
      return ReadTirex(map, &out->config);
  }
}

// The family of a configuration that does not name it, by what only that family has.
Family Guess(const MapReader& top) {
  if (top.Has("model_config")) return Family::tirex;
  if (top.Has("num_heads")) return Family::large;
  return top.Has("vocab_size") ? Family::lm : Family::block_stack;
}

// `stream:` and `forecast:` say what surrounds a family.
void CheckSurroundings(MapReader& top, Family family, const std::optional<MapReader>& stream,
                       const std::optional<MapReader>& forecast) {
  constexpr const char* kNames[] = {"block_stack", "lm", "large", "tirex"};
  const std::string name = kNames[static_cast<size_t>(family)];
  if (stream && family != Family::block_stack) {
    top.Fail(stream->place(), "stream", "it around a block_stack", "it around " + name);
  }
  if (forecast && family != Family::tirex) {
    top.Fail(forecast->place(), "forecast", "it around tirex", "it around " + name);
  }
}

void ReadYaml(const ConfigSource& source, const YamlNode& root, ParsedConfig* parsed) {
  MapReader top(source, root, "");
  auto stream = top.Map("stream", false);
  auto forecast = top.Map("forecast", false);
  if (top.Has("model") || top.Has("config")) {
    top.Require("model");
    uint32_t family = 0;
    top.Choice("model", {"block_stack", "lm", "large", "tirex"}, &family);
    CheckSurroundings(top, static_cast<Family>(family), stream, forecast);
    top.Require("config");
    MapReader config = *top.Map("config", false);
    top.Finish();
    ReadFamily(config, static_cast<Family>(family), parsed);
  } else {
    const Family family = Guess(top);
    CheckSurroundings(top, family, stream, forecast);
    ReadFamily(top, family, parsed);
  }
  if (stream) {
    ReadStream(source, *stream, parsed->config.block_stack.embedding_dim,
               &parsed->config.stream.emplace());
  }
  if (forecast) ReadForecast(*forecast, &parsed->config.tirex.forecast);
}

// A null says no more than a key that is not there, but for the caps, which it switches off.
YamlNode WithoutNulls(const YamlNode& root) {
  YamlNode kept = root;
  kept.keys.clear();
  kept.items.clear();
  for (size_t i = 0; i < root.keys.size(); ++i) {
    const bool cap = root.keys[i].text.ends_with("_soft_cap");
    if (root.items[i].kind == YamlNode::Kind::null && !cap) continue;
    kept.keys.push_back(root.keys[i]);
    kept.items.push_back(root.items[i]);
  }
  return kept;
}

void ReadHub(const ConfigSource& source, const YamlNode& root, ModelConfig* out) {
  const YamlNode kept = root.kind == YamlNode::Kind::map ? WithoutNulls(root) : root;
  MapReader top(source, kept, "");
  uint32_t xlstm;
  top.Choice("model_type", {"xlstm"}, &xlstm);
  ReadLarge(top, true, out);
}

}  // namespace

ParsedConfig ParseConfigForPacking(std::string_view text, const std::string& name,
                                   std::vector<std::string>* remarks) {
  const ConfigSource source{name, remarks};
  ParsedConfig parsed;
  if (name.ends_with(".json")) {
    ReadHub(source, ParseJson(text, name), &parsed.config);
  } else {
    ReadYaml(source, ParseYaml(text, name), &parsed);
  }
  Fault fault;
  if (ValidateConfig(parsed.config, &fault) != Status::ok) {
    throw Error(fault.status, name + ": " + fault.message);
  }
  return parsed;
}

ModelConfig ParseConfig(std::string_view text, const std::string& name,
                        std::vector<std::string>* remarks) {
  return ParseConfigForPacking(text, name, remarks).config;
}

}  // namespace xst::formats
