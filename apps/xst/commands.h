// The commands of `xst`. Each adds its subcommand to the application and runs as its callback.
//
// A callback reports by exception: UsageError (exit 2) for a combination that makes no sense,
// anything else (exit 1) for bad data, a missing file or a machine that lacks something.
#pragma once

#include <CLI/CLI.hpp>
#include <memory>
#include <stdexcept>
#include <string>
#include <zmq.hpp>

#include "sdk/model.h"

namespace xst::cli {

struct UsageError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// What every command that opens a model takes.
struct ModelArgs {
  std::string path;
  std::string device = "cpu";
  std::string isa;        // empty: the best there is
  bool resident = false;  // these two of some commands, on a CUDA device
  bool bf16_forward = false;
};

// Adds the positional model, --device and, `with_isa`, --isa.
void AddModelArgs(CLI::App* command, ModelArgs* args, bool with_isa);

// Throws UsageError for a device name that cannot be, or an instruction set on a device without
// one; Error for what this machine lacks.
std::shared_ptr<const Model> OpenModel(const ModelArgs& args, bool check_full = false);

// Throws UsageError for "-" where `option` needs a file.
void ExpectFile(const std::string& option, const std::string& path);

// What every command that connects to a daemon takes: files of `xst keygen`, both or none.
struct KeyArgs {
  std::string server, secret;
};
void AddKeyArgs(CLI::App* command, KeyArgs* keys);
void UseKeys(zmq::socket_t& socket, const KeyArgs& keys);  // before it connects

void AddPack(CLI::App* app);
void AddUnpack(CLI::App* app);
void AddInspect(CLI::App* app);
void AddVerify(CLI::App* app);
void AddRun(CLI::App* app);
void AddBench(CLI::App* app);
void AddForecast(CLI::App* app);
void AddGenerate(CLI::App* app);
void AddKeygen(CLI::App* app);
void AddReplay(CLI::App* app);
void AddStatus(CLI::App* app);
void AddWatch(CLI::App* app);

}  // namespace xst::cli
