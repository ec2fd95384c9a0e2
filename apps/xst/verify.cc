// xst verify: is the file whole, and does this device compute what the model's packer computed?
#include <cmath>
#include <cstdio>
#include <memory>

#include "apps/xst/commands.h"

namespace xst::cli {
namespace {

void Verify(const ModelArgs& args) {
  const auto model = OpenModel(args, true);
  const ModelInfo& info = model->info();
  std::printf("checksums  good (%llu bytes)\n", static_cast<unsigned long long>(info.file_bytes));
  const ProbeResult probe = model->verify();
  std::printf("probe      %u steps on %s%s%s\n", probe.steps, info.device.c_str(),
              info.isa.empty() ? "" : ", ", info.isa.c_str());
  std::printf("error      %.3g (bound %.3g, largest output %.3g)\n", probe.error, probe.bound,
              probe.largest);
  std::printf("           %.3g from the unrounded weights\n", probe.error_full);
  if (!std::isnan(probe.error_framework)) {
    std::printf("           %.3g from the training framework\n", probe.error_framework);
  }
  if (!probe.pass()) {  // also where finite outputs were due and are not
    char text[128];
    std::snprintf(text, sizeof(text), ": expected a probe error of at most %.3g, got %.3g",
                  probe.bound, probe.error);
    throw Error(Status::corrupt, args.path + text);
  }
  std::printf("verified\n");
}

}  // namespace

void AddVerify(CLI::App* app) {
  auto args = std::make_shared<ModelArgs>();
  CLI::App* command =
      app->add_subcommand("verify", "Check every checksum and replay the packed probe");
  AddModelArgs(command, args.get(), false);
  command->callback([args] { Verify(*args); });
}

}  // namespace xst::cli
