// xst unpack: the stored weights, rounding and all, back under official names.
#include <memory>

#include "apps/xst/commands.h"
#include "formats/pack.h"

namespace xst::cli {

void AddUnpack(CLI::App* app) {
  struct Args {
    std::string model, output;
  };
  auto args = std::make_shared<Args>();
  CLI::App* command = app->add_subcommand(
      "unpack", "Write the stored weights as float32 safetensors under official names");
  command->add_option("model", args->model, "model file (.xst)")->required()->type_name("M.xst");
  command->add_option("-o,--output", args->output, "file to write")
      ->required()
      ->type_name("W.safetensors");
  command->callback([args] {
    ExpectFile("--output", args->output);
    formats::UnpackModel(args->model, args->output);
  });
}

}  // namespace xst::cli
