#include "formats/config_yaml.h"

#include "formats/config_parts.h"
#include "formats/model_file.h"

namespace xst::formats {
namespace {

enum class Form { named, nested };

// A conformance-style file names its family; a nested one is known by its vocabulary.
bool IsLm(MapReader& top, Form form) {
  if (form == Form::nested) return top.Has("vocab_size");
  const YamlNode& model = top.Require("model");
  uint32_t family = 0;
  top.Choice("model", {"block_stack", "lm", "large", "tirex"}, &family);
  if (family > static_cast<uint32_t>(Family::lm)) {
    throw Error(Status::unsupported_version,
                top.source().name + ":" + std::to_string(model.line) + ":" +
                    std::to_string(model.column) + ": model: expected block_stack or lm, got " +
                    model.text + ", which this version does not support");
  }
  return family == static_cast<uint32_t>(Family::lm);
}

}  // namespace

ParsedConfig ParseConfigForPacking(std::string_view text, const std::string& name,
                                   std::vector<std::string>* remarks) {
  const YamlNode root = ParseYaml(text, name);
  const ConfigSource source{name, remarks};
  MapReader top(source, root, "");
  ParsedConfig parsed;
  const Form form = top.Has("model") || top.Has("config") ? Form::named : Form::nested;
  const bool lm = IsLm(top, form);
  auto stream = top.Map("stream", false);
  if (stream && lm) {
    top.Fail(stream->place(), "stream", "it around a block_stack", "it around an lm");
  }
  if (form == Form::named) {
    top.Require("config");
    MapReader config = *top.Map("config", false);
    top.Finish();
    ReadBlockStack(config, lm, &parsed);
  } else {
    ReadBlockStack(top, lm, &parsed);
  }
  if (stream) {
    ReadStream(source, *stream, parsed.config.block_stack.embedding_dim,
               &parsed.config.stream.emplace());
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
