// xst inspect: what a model file holds and what a step of it costs.
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>

#include "apps/xst/commands.h"
#include "sdk/names.h"
#include "formats/manifest.h"

namespace xst::cli {
namespace {

using Json = nlohmann::ordered_json;
using formats::TensorSpec;

Json Channels(const std::vector<std::string>& names, const std::vector<std::string>& units) {
  Json list = Json::array();
  for (size_t i = 0; i < names.size(); ++i) {
    list.push_back({{"name", names[i]}, {"unit", i < units.size() ? units[i] : ""}});
  }
  return list;
}

Json Describe(const ModelInfo& info) {
  Json tensors = Json::array();
  for (const TensorSpec& spec : formats::Manifest(info.config)) {
    const formats::DType dtype = formats::StoredDType(spec, info.dtype);
    Json sources = Json::array();
    for (const auto& source : spec.sources) sources.push_back(source.name);
    tensors.push_back({{"name", spec.name},
                       {"dtype", Name(dtype)},
                       {"layout", Name(spec.layout)},
                       {"shape", {spec.rows, spec.cols}},
                       {"bytes", formats::TensorBytes(spec, dtype)},
                       {"sources", std::move(sources)}});
  }
  return {{"family", Name(info.config.family)},
          {"wrapped", info.config.stream.has_value()},
          {"dtype", Name(info.dtype)},
          {"tokens", info.tokens},
          {"input_width", info.input_width},
          {"output_width", info.output_width},
          {"inputs", Channels(info.input_names, info.input_units)},
          {"outputs", Channels(info.output_names, info.output_units)},
          {"rate_hz", info.rate_hz},
          {"parameters", info.parameters},
          {"file_bytes", info.file_bytes},
          {"weight_bytes", info.weight_bytes},
          {"state_bytes", info.state_bytes},
          {"session_bytes", info.session_bytes},
          {"snapshot_bytes", info.snapshot_bytes},
          {"flops", info.flops},
          {"arch_hash", info.arch_hash},
          {"source_hash", info.source_hash},
          {"file_hash", info.file_hash},
          {"packer", info.packer},
          {"source", info.source},
          {"config", info.config_yaml},
          {"tensors", std::move(tensors)}};
}

std::string Bytes(uint64_t n) {
  char text[48];
  if (n < 10'000) {
    std::snprintf(text, sizeof(text), "%llu B", static_cast<unsigned long long>(n));
  } else if (n < 10'000'000) {
    std::snprintf(text, sizeof(text), "%.1f kB", static_cast<double>(n) / 1e3);
  } else {
    std::snprintf(text, sizeof(text), "%.1f MB", static_cast<double>(n) / 1e6);
  }
  return text;
}

void PrintChannels(const char* title, uint32_t width, const std::vector<std::string>& names,
                   const std::vector<std::string>& units) {
  std::printf("%-12s %u", title, width);
  for (size_t i = 0; i < names.size(); ++i) {
    const bool unit = i < units.size() && !units[i].empty();
    std::printf("%s %s%s%s%s", i ? "," : ":", names[i].c_str(), unit ? " [" : "",
                unit ? units[i].c_str() : "", unit ? "]" : "");
  }
  std::printf("\n");
}

void Print(const std::string& path, const ModelInfo& info) {
  const auto count = [](uint64_t n) { return static_cast<unsigned long long>(n); };
  std::printf("%s: %s%s, %s\n", path.c_str(), Name(info.config.family),
              info.config.stream ? " with stream wrapper" : "", Name(info.dtype));
  PrintChannels("input", info.input_width, info.input_names, info.input_units);
  PrintChannels("output", info.output_width, info.output_names, info.output_units);
  if (info.rate_hz > 0) std::printf("%-12s %g Hz\n", "rate", info.rate_hz);
  std::printf("%-12s %llu\n", "parameters", count(info.parameters));
  std::printf("%-12s %s\n", "file", Bytes(info.file_bytes).c_str());
  std::printf("%-12s %s of weights, %llu FLOP\n", "a step", Bytes(info.weight_bytes).c_str(),
              count(info.flops));
  std::printf("%-12s %s of state, %s of memory, %s a snapshot\n", "a stream",
              Bytes(info.state_bytes).c_str(), Bytes(info.session_bytes).c_str(),
              Bytes(info.snapshot_bytes).c_str());
  std::printf("%-12s %s\n%-12s %s\n%-12s %s\n", "arch_hash", info.arch_hash.c_str(), "source_hash",
              info.source_hash.c_str(), "file_hash", info.file_hash.c_str());
  std::printf("%-12s %s from %s\n", "packed by", info.packer.c_str(), info.source.c_str());

  std::printf("\nconfig\n");
  for (size_t at = 0; at < info.config_yaml.size();) {
    const size_t end = std::min(info.config_yaml.find('\n', at), info.config_yaml.size());
    std::printf("  %.*s\n", static_cast<int>(end - at), info.config_yaml.data() + at);
    at = end + 1;
  }

  std::printf("\ntensors\n");
  for (const TensorSpec& spec : formats::Manifest(info.config)) {
    const formats::DType dtype = formats::StoredDType(spec, info.dtype);
    std::printf("  %-28s %6llu x %-6llu %-4s %-5s %10llu B\n", spec.name.c_str(), count(spec.rows),
                count(spec.cols), Name(dtype), Name(spec.layout),
                count(formats::TensorBytes(spec, dtype)));
  }
}

}  // namespace

void AddInspect(CLI::App* app) {
  struct Args {
    ModelArgs model;
    bool json = false;
  };
  auto args = std::make_shared<Args>();
  CLI::App* command =
      app->add_subcommand("inspect", "Show a model's configuration, tensors, costs and hashes");
  command->add_option("model", args->model.path, "model file (.xst)")
      ->required()
      ->type_name("M.xst");
  command->add_flag("--json", args->json, "one JSON object");
  command->callback([args] {
    const auto model = OpenModel(args->model);
    if (args->json) {
      std::printf("%s\n", Describe(model->info()).dump(2).c_str());
    } else {
      Print(args->model.path, model->info());
    }
  });
}

}  // namespace xst::cli
