#include <algorithm>
#include <map>

#include "formats/config_parts.h"
#include "formats/text.h"

namespace xst::formats {
namespace {

// A list of maps, each with its reader and a path such as "stream.inputs[2]".
template <class Read>
void ForEachMap(const ConfigSource& source, const MapReader& parent, const char* key,
                const YamlNode& list, Read read) {
  if (list.kind != YamlNode::Kind::sequence) parent.Fail(list, key, "a list", list.Describe());
  if (list.items.size() > kMaxChannels) {
    parent.Fail(list, key, "at most " + std::to_string(kMaxChannels) + " entries",
                std::to_string(list.items.size()));
  }
  for (size_t i = 0; i < list.items.size(); ++i) {
    MapReader map(source, list.items[i], parent.PathOf(key) + "[" + std::to_string(i) + "]");
    read(map);
    map.Finish();
  }
}

std::string Name(const MapReader& map, const char* key, const YamlNode& node) {
  if (!node.IsString()) map.Fail(node, key, "a string (quote it)", node.Describe());
  if (!IsName(node.text)) {
    map.Fail(node, key, "1 to 128 bytes without control characters, commas and quotes",
             node.Describe());
  }
  return node.text;
}

StreamInput ReadInput(MapReader& map) {
  StreamInput in;
  in.name = Name(map, "name", map.Require("name"));
  map.String("unit", &in.unit);
  map.Number("mean", &in.mean);
  if (map.Number("std", &in.std) && in.std <= 0) {
    const YamlNode& at = *map.Take("std");
    map.Fail(at, "std", "a positive number", at.Describe());
  }
  uint32_t missing = 0;
  map.Choice("missing", {"hold", "mean", "zero"}, &missing);
  in.missing = static_cast<Missing>(missing);
  return in;
}

constexpr std::initializer_list<const char*> kKinds = {"value",   "gaussian", "surprise",
                                                       "sigmoid", "softmax",  "raw"};

// The key that names an output is its kind.
OutputKind ReadKind(MapReader& map, const YamlNode** names) {
  OutputKind kind = OutputKind::raw;
  uint8_t i = 0;
  for (const char* key : kKinds) {
    if (const YamlNode* node = map.Take(key)) {
      if (*names) map.Fail(*node, key, "one kind an output", "two");
      *names = node;
      kind = static_cast<OutputKind>(i);
    }
    ++i;
  }
  if (!*names) {
    FailAt(map.source().name, map.place(),
           map.PathOf("kind") +
               ": expected value, gaussian, surprise, sigmoid, softmax or raw, got none of them");
  }
  return kind;
}

using Indices = std::map<std::string, int32_t>;

int32_t Lookup(const MapReader& map, const YamlNode& node, const Indices& indices,
               const std::string& expected) {
  const auto found = node.IsString() ? indices.find(node.text) : indices.end();
  if (found == indices.end()) map.Fail(node, "of", expected, node.Describe());
  return found->second;
}

void ReadPrediction(MapReader& map, const Indices& inputs, StreamOutput* out) {
  map.String("unit", &out->unit);
  map.Integer("horizon", 1, kMaxHorizon, &out->horizon);
  if (const YamlNode* of = map.Take("of")) {
    out->of = Lookup(map, *of, inputs, "the name of an input");
  }
  if (map.Bool("residual", &out->residual) && out->residual && out->of < 0) {
    map.Fail(*map.Take("residual"), "residual", "`of` with it", "none");
  }
}

StreamOutput ReadOutput(MapReader& map, const Indices& inputs) {
  StreamOutput out;
  const YamlNode* names = nullptr;
  out.kind = ReadKind(map, &names);
  const char* key = kKinds.begin()[static_cast<size_t>(out.kind)];
  if (out.kind == OutputKind::softmax) {
    if (names->kind != YamlNode::Kind::sequence || names->items.empty()) {
      map.Fail(*names, key, "a list of names", names->Describe());
    }
    for (const YamlNode& name : names->items) out.names.push_back(Name(map, key, name));
  } else {
    out.names.push_back(Name(map, key, *names));
  }
  switch (out.kind) {
    case OutputKind::value:
    case OutputKind::gaussian:
      ReadPrediction(map, inputs, &out);
      break;
    case OutputKind::surprise:
      map.Require("of");  // resolved once all outputs are known
      break;
    case OutputKind::raw:
      map.String("unit", &out.unit);
      break;
    case OutputKind::sigmoid:
    case OutputKind::softmax:
      break;
  }
  return out;
}

void ReadOutputs(const ConfigSource& source, MapReader& map, const YamlNode& list,
                 const Indices& inputs, StreamConfig* out) {
  Indices gaussians, taken;
  ForEachMap(source, map, "outputs", list, [&](MapReader& output) {
    StreamOutput o = ReadOutput(output, inputs);
    const auto index = static_cast<int32_t>(out->outputs.size());
    std::vector<std::string> names = o.names;
    if (o.kind == OutputKind::gaussian) {
      if (o.of >= 0) gaussians[o.names[0]] = index;
      names.push_back(o.names[0] + ".sigma");
    }
    for (const std::string& name : names) {
      if (!taken.emplace(name, index).second) {
        output.Fail(output.place(), "name", "one used once", Printable(name) + " twice");
      }
    }
    out->outputs.push_back(std::move(o));
  });
  for (size_t i = 0; i < out->outputs.size(); ++i) {
    StreamOutput& o = out->outputs[i];
    if (o.kind != OutputKind::surprise) continue;
    MapReader output(source, list.items[i], map.PathOf("outputs[" + std::to_string(i) + "]"));
    o.of = Lookup(output, output.Require("of"), gaussians,
                  "the name of a gaussian output that is `of` an input");
  }
}

void ReadGaps(MapReader& map, StreamConfig* out) {
  uint32_t policy = 0, then = 0;
  map.Choice("policy", {"hold", "skip"}, &policy);
  map.Choice("then", {"reset", "skip"}, &then);
  out->gap_policy = static_cast<GapPolicy>(policy);
  out->gap_then = static_cast<GapThen>(then);
  if (map.Number("max_s", &out->gap_max_s) && out->gap_max_s < 0) {
    const YamlNode& at = *map.Take("max_s");
    map.Fail(at, "max_s", "0 or more seconds", at.Describe());
  }
  map.Finish();
}

}  // namespace

void ReadStream(const ConfigSource& source, MapReader& map, uint32_t embedding_dim,
                StreamConfig* out) {
  const YamlNode& rate = map.Require("rate_hz");
  map.Number("rate_hz", &out->rate_hz);
  if (out->rate_hz < 0) map.Fail(rate, "rate_hz", "0 or more", rate.Describe());

  Indices inputs;
  const YamlNode& list = map.Require("inputs");
  ForEachMap(source, map, "inputs", list, [&](MapReader& input) {
    out->inputs.push_back(ReadInput(input));
    const auto index = static_cast<int32_t>(out->inputs.size()) - 1;
    if (!inputs.emplace(out->inputs.back().name, index).second) {
      input.Fail(*input.Take("name"), "name", "one used once", out->inputs.back().name + " twice");
    }
  });
  if (out->inputs.empty()) map.Fail(list, "inputs", "at least one", "none");

  uint32_t encoder = 0, head = 0;
  map.Choice("encoder", {"linear", "none"}, &encoder);
  map.Choice("head", {"linear", "none"}, &head);
  out->encoder = encoder == 0;
  out->head = head == 0;
  if (!out->encoder && out->inputs.size() != embedding_dim) {
    map.Fail(*map.Take("encoder"), "encoder",
             "linear, or embedding_dim " + std::to_string(embedding_dim) + " inputs",
             "none with " + std::to_string(out->inputs.size()));
  }

  const YamlNode* outputs = map.Take("outputs");
  if (!out->head && outputs && !outputs->items.empty()) {
    map.Fail(*outputs, "outputs", "none with head none", "some");
  }
  if (out->head && !outputs) map.Fail(map.place(), "outputs", "this key with a head", "none");
  if (outputs) {
    ReadOutputs(source, map, *outputs, inputs, out);
    if (out->head && out->HeadRows() == 0) {
      map.Fail(*outputs, "outputs", "at least one that takes a row of the head", "none");
    }
  }
  if (auto gaps = map.Map("gaps", false)) ReadGaps(*gaps, out);
  map.Integer("warmup", 0, INT32_MAX, &out->warmup);
  map.Finish();
}

}  // namespace xst::formats
