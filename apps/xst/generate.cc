// xst generate: token ids that a language model goes on with.
#include <algorithm>
#include <charconv>
#include <cmath>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "apps/xst/commands.h"
#include "sdk/names.h"
#include "formats/output_file.h"
#include "formats/text.h"
#include "sdk/generate.h"
#include "sdk/session.h"

namespace xst::cli {
namespace {

constexpr uint64_t kMaxPromptBytes = uint64_t{1} << 30;

struct GenerateArgs {
  ModelArgs model;
  std::string prompt, stop;
  uint64_t max_tokens = 0;
  std::optional<double> temperature, top_p;
  std::optional<uint64_t> top_k;
  uint64_t seed = 0;
};

// Ids between commas or white space; false and `why` for anything else.
bool ParseIds(std::string_view text, std::vector<int64_t>* ids, std::string* why) {
  constexpr std::string_view kBlank = " \t\r\n", kEnd = ", \t\r\n";
  const auto skip_blanks = [&] {
    text.remove_prefix(std::min(text.find_first_not_of(kBlank), text.size()));
  };
  skip_blanks();
  for (bool comma = false; !text.empty() || comma;) {
    const std::string_view word = text.substr(0, text.find_first_of(kEnd));
    int64_t id = 0;
    const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), id);
    if (error != std::errc() || end != word.data() + word.size()) {
      *why = "expected token ids between commas or blanks, got '" + formats::Printable(word) +
             "' behind " + std::to_string(ids->size()) + " of them";
      return false;
    }
    ids->push_back(id);
    text.remove_prefix(word.size());
    skip_blanks();
    comma = text.starts_with(',');
    if (comma) text.remove_prefix(1);
    skip_blanks();
  }
  return true;
}

// The ids of an option.
std::vector<int64_t> ReadIds(const std::string& option, const std::string& text) {
  std::vector<int64_t> ids;
  std::string why;
  if (!ParseIds(text, &ids, &why)) throw UsageError(option + ": " + why);
  return ids;
}

std::vector<int64_t> ReadPrompt(const std::string& prompt) {
  std::vector<int64_t> ids;
  std::string why;
  if (prompt != "-") {
    ids = ReadIds("--prompt", prompt);
  } else if (!ParseIds(formats::ReadAll("-", kMaxPromptBytes), &ids, &why)) {
    throw Error(Status::corrupt, "standard input: " + why);
  }
  if (ids.empty()) throw UsageError("--prompt: expected at least one token id, got none");
  return ids;
}

void CheckIds(const std::vector<int64_t>& ids, const std::string& what, uint32_t vocabulary) {
  for (size_t i = 0; i < ids.size(); ++i) {
    if (ids[i] >= 0 && ids[i] < vocabulary) continue;
    throw Error(Status::invalid_argument,
                what + ": expected ids in [0, " + std::to_string(vocabulary) + "), got " +
                    std::to_string(ids[i]) + " at index " + std::to_string(i));
  }
}

SamplerOptions Sampling(const GenerateArgs& args) {
  const bool cut = args.top_k || args.top_p;
  SamplerOptions options;
  options.temperature = args.temperature.value_or(cut ? 1 : 0);
  options.top_k = args.top_k.value_or(0);
  options.top_p = args.top_p.value_or(1);
  options.seed = args.seed;
  if (!std::isfinite(options.temperature) || std::isnan(options.top_p)) {
    throw UsageError(std::string(std::isnan(options.top_p) ? "--top-p" : "--temperature") +
                     ": expected a finite number, got another");
  }
  if (cut && options.temperature == 0) {
    throw UsageError(std::string(args.top_k ? "--top-k" : "--top-p") +
                     ": expected a --temperature above 0, got 0, which is greedy");
  }
  return options;
}

void Check(Status status) {
  if (status != Status::ok) {
    throw Error(status, std::string("step: expected success, got: ") + Describe(status));
  }
}

void Generate(const GenerateArgs& args) {
  const SamplerOptions sampling = Sampling(args);
  const std::vector<int64_t> stop = ReadIds("--stop", args.stop);
  const auto model = OpenModel(args.model);
  const ModelInfo& info = model->info();
  if (!info.tokens) {
    throw UsageError(args.model.path + ": expected a language model (lm or large), got one of " +
                     "family " + Name(info.config.family));
  }
  const std::vector<int64_t> prompt = ReadPrompt(args.prompt);
  CheckIds(prompt, args.prompt == "-" ? "standard input" : "--prompt", info.output_width);
  CheckIds(stop, "--stop", info.output_width);
  if (args.max_tokens == 0) return;

  Sampler sampler(info.output_width, sampling);
  Session session(model);
  std::vector<float> logits(info.output_width);
  Check(session.forward(prompt, logits));
  for (uint64_t n = 1;; ++n) {
    uint32_t token;
    if (sampler.Next(logits, &token) != Status::ok) {
      throw Error(Status::invalid_argument,
                  "logits: expected finite ones, got others for token " + std::to_string(n));
    }
    const std::string line = std::to_string(token) + "\n";
    formats::WriteStandardOutput(line.data(), line.size());
    if (n == args.max_tokens || std::find(stop.begin(), stop.end(), token) != stop.end()) return;
    Check(session.step(int64_t{token}, logits));
  }
}

}  // namespace

void AddGenerate(CLI::App* app) {
  auto args = std::make_shared<GenerateArgs>();
  CLI::App* command =
      app->add_subcommand("generate", "Go on from a prompt of token ids with a language model");
  AddModelArgs(command, &args->model, true);
  command
      ->add_option("--prompt", args->prompt,
                   "token ids between commas or blanks; - for standard input")
      ->required()
      ->type_name("IDS");
  command->add_option("--max-tokens", args->max_tokens, "new ids at most, printed one a line")
      ->required()
      ->check(CLI::Range(uint64_t{0}, uint64_t{1} << 40))
      ->type_name("N");
  command
      ->add_option(
          "--temperature", args->temperature,
          "divides the logits; 0: the likeliest id (default, but 1 with --top-k or --top-p)")
      ->check(CLI::NonNegativeNumber)
      ->type_name("T");
  command
      ->add_option("--top-k", args->top_k,
                   "draw from the K likeliest, and what ties with the last; 0: all (default)")
      ->check(CLI::NonNegativeNumber)
      ->type_name("K");
  command
      ->add_option("--top-p", args->top_p,
                   "draw from the likeliest that reach probability P together (default: 1)")
      ->check(CLI::Range(0.0, 1.0))
      ->type_name("P");
  command->add_option("--seed", args->seed, "of the draws; the greedy choice makes none")
      ->check(CLI::NonNegativeNumber)
      ->type_name("S");
  command->add_option("--stop", args->stop, "ids that end the text, printed too")->type_name("IDS");
  command->callback([args] { Generate(*args); });
}

}  // namespace xst::cli
