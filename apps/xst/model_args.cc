#include "apps/xst/commands.h"

namespace xst::cli {

void AddModelArgs(CLI::App* command, ModelArgs* args, bool with_isa) {
  command->add_option("model", args->path, "model file (.xst)")->required()->type_name("M.xst");
  command
      ->add_option("--device", args->device,
                   "cpu, cpu:N (threads), cuda:K, or reference (double precision)")
      ->type_name("D");
  if (!with_isa) return;
  command
      ->add_option("--isa", args->isa,
                   "CPU instruction set: scalar, avx2, avx512 or neon (default: the best here)")
      ->type_name("I")
      ->check(CLI::IsMember({"scalar", "avx2", "avx512", "neon"}));
}

std::shared_ptr<const Model> OpenModel(const ModelArgs& args, bool check_full) {
  Options options;
  Fault fault;
  if (Device::Parse(args.device, &options.device, &fault) != Status::ok) {
    throw UsageError(fault.message);
  }
  if (!args.isa.empty() && options.device.kind != Device::Kind::cpu) {
    throw UsageError("--isa: expected a cpu device, got --device " + args.device);
  }
  options.isa = args.isa;
  options.resident = args.resident;
  options.bf16_forward = args.bf16_forward;
  options.check_full = check_full;
  return Model::open(args.path, options);
}

void ExpectFile(const std::string& option, const std::string& path) {
  if (path == "-") throw UsageError(option + ": expected a file, got -");
}

}  // namespace xst::cli
