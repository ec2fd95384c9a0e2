// xst pack: a trained checkpoint into one model file that carries its own proof.
#include <cstdio>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <system_error>

#include "apps/xst/commands.h"
#include "apps/xst/names.h"
#include "formats/manifest.h"
#include "formats/npy.h"
#include "formats/pack.h"
#include "sdk/probe.h"

namespace xst::cli {
namespace {

using formats::DType;

struct PackArgs {
  std::string source, output, probe;
  formats::PackOptions options;
  bool verbose = false;
};

void Pack(PackArgs& args) {
  ExpectFile("--output", args.output);
  if (args.options.dtype != DType::f32) {
    throw Error(Status::invalid_argument,
                "--dtype: expected f32 (no other is supported by this version's kernels), got " +
                    std::string(Name(args.options.dtype)));
  }
  std::error_code ignored;
  if (!std::filesystem::exists(args.source, ignored)) {
    throw Error(
        Status::not_found,
        args.source + ": expected a .safetensors file or a folder with one, got nothing there");
  }
  std::optional<formats::Array> input;
  if (!args.probe.empty()) input = formats::ReadNpy(args.probe);
  args.options.probe = MakeProbe(args.source, args.options, input ? &*input : nullptr);
  const formats::Remarks remarks = formats::PackModel(args.source, args.output, args.options);
  if (args.verbose) {
    for (const std::string& remark : remarks) std::printf("%s\n", remark.c_str());
  }
  const ModelInfo info = Model::open(args.output)->info();
  std::printf("%s: %llu bytes, %zu tensors, %llu parameters\n", args.output.c_str(),
              static_cast<unsigned long long>(info.file_bytes),
              formats::Manifest(info.config).size(),
              static_cast<unsigned long long>(info.parameters));
}

}  // namespace

void AddPack(CLI::App* app) {
  auto args = std::make_shared<PackArgs>();
  CLI::App* command = app->add_subcommand("pack", "Pack a trained checkpoint into a model file");
  command
      ->add_option("source", args->source,
                   "weights.safetensors, or a folder that holds it and its config.yaml")
      ->required()
      ->type_name("SRC");
  command->add_option("-o,--output", args->output, "model file to write")
      ->required()
      ->type_name("M.xst");
  command
      ->add_option("--config", args->options.config,
                   "configuration (default: config.yaml beside the weights)")
      ->type_name("C.yaml");
  std::map<std::string, DType> dtypes;
  for (const DType dtype : {DType::f32, DType::i16, DType::bf16, DType::i8}) {
    dtypes[Name(dtype)] = dtype;
  }
  command->add_option("--dtype", args->options.dtype, "type of the stored weights: f32")
      ->transform(CLI::CheckedTransformer(dtypes))
      ->default_str("f32")
      ->type_name("TYPE");
  command
      ->add_option("--probe", args->probe,
                   "input of the packed probe, float32 [T,width] or int64 tokens [T] (default: 16 "
                   "seeded random steps)")
      ->type_name("P.npy");
  command->add_flag("--verbose", args->verbose,
                    "name ignored configuration fields and converted layouts");
  command->callback([args] { Pack(*args); });
}

}  // namespace xst::cli
