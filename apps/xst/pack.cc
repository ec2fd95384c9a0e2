// xst pack: a trained checkpoint into one model file that carries its own proof.
#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <system_error>

#include "apps/xst/commands.h"
#include "formats/c_array.h"
#include "formats/manifest.h"
#include "formats/npy.h"
#include "formats/output_file.h"
#include "formats/pack.h"
#include "sdk/calibrate.h"
#include "sdk/names.h"
#include "sdk/probe.h"
#include "sdk/scratch_folder.h"

namespace xst::cli {
namespace {

using formats::DType;

struct PackArgs {
  std::string source, output, probe, recording;
  formats::PackOptions options;
  bool c_array = false, verbose = false;
};

// A line on a terminal's standard error that overwrites itself; nothing elsewhere.
class ProgressBar {
 public:
  ~ProgressBar() { Clear(); }
  void Show(const char* what, uint64_t done, uint64_t total) {
    if (!terminal_ || total < kSmall) return;
    const auto filled = static_cast<int>(done * kWidth / total);
    std::fprintf(stderr, "\r%-9s [%.*s%*s] %3d %% of %.1f GB ", what, filled, kFull,
                 kWidth - filled, "", static_cast<int>(done * 100 / total),
                 static_cast<double>(total) * 1e-9);
    shown_ = true;
  }
  void Clear() {
    if (shown_) std::fprintf(stderr, "\r\033[K");
    shown_ = false;
  }

 private:
  static constexpr int kWidth = 40;
  static constexpr uint64_t kSmall = uint64_t{1} << 28;  // bytes; less is done at once
  static constexpr char kFull[] = "########################################";
  const bool terminal_ = isatty(STDERR_FILENO);
  bool shown_ = false;
};

bool IsCPath(const std::filesystem::path& path) {
  return path.extension() == ".c" || path.extension() == ".C";
}

// The model file as C beside it, or `output` where only that is asked for. What lies there is
// replaced if it was made so, too.
std::string CArrayPath(const std::string& output) {
  std::filesystem::path path = output;
  if (!IsCPath(path)) path.replace_extension(".c");
  std::error_code ignored;
  if (!std::filesystem::exists(path, ignored)) return path.string();
  std::string begin(3 + path.filename().string().size() + 2, ' ');
  std::ifstream(path).read(begin.data(), static_cast<std::streamsize>(begin.size()));
  if (begin != "/* " + path.filename().string() + ": ") {
    throw Error(Status::io_error, path.string() +
                                      ": expected nothing or an array of --c-array to replace, "
                                      "got another file");
  }
  return path.string();
}

void WriteC(const Model& model, const std::string& packed, const std::string& path) {
  const ModelInfo& info = model.info();
  const std::string about = std::filesystem::path(path).filename().string() + ": " +
                            Name(info.config.family) + ", " + Name(info.dtype) + ", " +
                            std::to_string(info.parameters) + " parameters, packed by " +
                            info.packer + " from " + info.source + "\n * architecture " +
                            info.arch_hash + ", weights " + info.source_hash;
  const std::string bytes = formats::ReadAll(packed, info.file_bytes);
  formats::WriteCArray(std::as_bytes(std::span(bytes)), about, path);
}

void Pack(PackArgs& args) {
  ExpectFile("--output", args.output);
  if (!args.recording.empty() && args.options.dtype != DType::i8) {
    throw UsageError(std::string("--calibrate: expected --dtype i8, got --dtype ") +
                     Name(args.options.dtype));
  }
  std::error_code ignored;
  if (!std::filesystem::exists(args.source, ignored)) {
    throw Error(
        Status::not_found,
        args.source + ": expected a .safetensors file or a folder with some, got nothing there");
  }
  std::optional<formats::Array> input;
  if (!args.probe.empty()) input = formats::ReadNpy(args.probe);
  std::optional<formats::Array> recording;
  if (!args.recording.empty()) recording = formats::ReadNpy(args.recording);
  ProgressBar bar;
  args.options.progress = [&](const char* what, uint64_t done, uint64_t total) {
    bar.Show(what, done, total);
  };
  const std::string c_path = args.c_array ? CArrayPath(args.output) : "";
  std::optional<ScratchFolder> scratch;
  if (args.c_array && c_path == args.output) {
    scratch.emplace(args.output);
    args.output = scratch->file("model.xst");
  }
  std::optional<Calibration> calibration;
  if (recording) {
    calibration.emplace(args.source, args.output, args.options, *recording);
    args.options.rounder = &*calibration;
  }
  const formats::Remarks remarks =
      PackWithProbe(args.source, args.output, args.options, input ? &*input : nullptr);
  bar.Clear();
  if (args.verbose) {
    for (const std::string& remark : remarks) std::printf("%s\n", remark.c_str());
  }
  const auto model = Model::open(args.output);
  const ModelInfo& info = model->info();
  if (args.c_array) WriteC(*model, args.output, c_path);
  std::printf("%s: %llu bytes, %zu tensors, %llu parameters\n",
              scratch ? c_path.c_str() : args.output.c_str(),
              static_cast<unsigned long long>(info.file_bytes),
              formats::Manifest(info.config).size(),
              static_cast<unsigned long long>(info.parameters));
  if (info.dtype != DType::f32) {
    const RoundingError error = ProbeRoundingError(*model);
    std::printf("%s against f32 on the probe: largest error %.2g, %.2g of the largest output\n",
                Name(info.dtype), error.largest, error.relative);
  }
}

}  // namespace

void AddPack(CLI::App* app) {
  auto args = std::make_shared<PackArgs>();
  CLI::App* command = app->add_subcommand("pack", "Pack a trained checkpoint into a model file");
  command
      ->add_option(
          "source", args->source,
          "weights.safetensors, or a checkpoint folder: config.yaml or a hub's config.json "
          "with weights.safetensors, model.safetensors or its shards")
      ->required()
      ->type_name("SRC");
  command->add_option("-o,--output", args->output, "model file to write")
      ->required()
      ->type_name("M.xst");
  command
      ->add_option("--config", args->options.config,
                   "configuration (default: config.yaml or config.json beside the weights)")
      ->type_name("C.yaml");
  std::map<std::string, DType> dtypes;
  for (const DType dtype : {DType::f32, DType::i16, DType::bf16, DType::i8}) {
    dtypes[Name(dtype)] = dtype;
  }
  command
      ->add_option("--dtype", args->options.dtype,
                   "type of the stored weights: f32, i16, bf16 or i8")
      ->transform(CLI::CheckedTransformer(dtypes).description(""))
      ->default_str("f32")
      ->type_name("TYPE");
  command
      ->add_option("--probe", args->probe,
                   "input of the packed probe, float32 [T,width] or int64 tokens [T] (default: 16 "
                   "seeded random steps, 2 for a large model)")
      ->type_name("P.npy");
  command
      ->add_option("--calibrate", args->recording,
                   "recording of the model's input, float32 [T,width] or int64 tokens [T]: i8 "
                   "weights are then rounded so that its products change least")
      ->type_name("X.npy");
  command->add_flag(
      "--c-array", args->c_array,
      "also write the file as C11 or C++ beside it, M.c: const unsigned char M_xst[], 64-byte "
      "aligned, and const size_t M_xst_len, for programs that carry their model (a compiler "
      "wants 100 bytes of memory for each of it); with -o M.c only that");
  command->add_flag("--verbose", args->verbose,
                    "name ignored configuration fields and converted layouts");
  command->callback([args] { Pack(*args); });
}

}  // namespace xst::cli
