// xst run: a recorded input through a model, as the live stream would have computed it.
#include <algorithm>
#include <memory>
#include <optional>
#include <span>

#include "apps/xst/commands.h"
#include "apps/xst/state_file.h"
#include "apps/xst/table.h"
#include "sdk/session.h"

namespace xst::cli {
namespace {

struct RunArgs {
  ModelArgs model;
  std::string input, output, mode = "step", format = "csv", state_in, state_out;
};

void Check(Status status, uint64_t step, uint64_t column) {
  if (status == Status::ok || status == Status::held) return;
  throw Error(status, "step " + std::to_string(step) + " of column " + std::to_string(column) +
                          ": expected success, got: " + Describe(status));
}

// Element `index` of a [T][B][width] array.
template <typename T>
std::span<T> Row(std::vector<T>& array, uint64_t index, uint64_t width) {
  return {array.data() + index * width, width};
}

void StepColumn(Session& session, Sequence& in, uint64_t column, const ModelInfo& info,
                std::vector<float>& out) {
  for (uint64_t t = 0; t < in.steps; ++t) {
    const uint64_t i = t * in.columns + column;
    const auto y = Row(out, i, info.output_width);
    Check(info.tokens ? session.step(in.tokens[i], y)
                      : session.step(Row(in.values, i, info.input_width), y),
          t, column);
  }
}

// One column of [T][B][width] as [T][width].
template <typename T>
std::vector<T> Gather(std::vector<T>& array, const Sequence& in, uint64_t column, uint64_t width) {
  std::vector<T> out;
  out.reserve(in.steps * width);
  for (uint64_t t = 0; t < in.steps; ++t) {
    const auto row = Row(array, t * in.columns + column, width);
    out.insert(out.end(), row.begin(), row.end());
  }
  return out;
}

void ForwardColumn(Session& session, Sequence& in, uint64_t column, const ModelInfo& info,
                   std::vector<float>& out) {
  if (in.steps == 0) return;
  std::vector<float> y(in.steps * info.output_width);
  Check(info.tokens
            ? session.forward(std::span<const int64_t>(Gather(in.tokens, in, column, 1)), y)
            : session.forward(
                  std::span<const float>(Gather(in.values, in, column, info.input_width)), y),
        0, column);
  for (uint64_t t = 0; t < in.steps; ++t) {
    const auto row = Row(y, t, info.output_width);
    std::copy(row.begin(), row.end(), Row(out, t * in.columns + column, info.output_width).begin());
  }
}

// Streams of one run: an array of no steps can claim any number.
constexpr uint64_t kMaxColumns = 1 << 20;

void Run(const RunArgs& args) {
  if (!args.state_out.empty() && args.output == args.state_out) {
    throw UsageError("--state-out: expected another file than --output, got " + args.output);
  }
  ExpectFile("--state-in", args.state_in);
  ExpectFile("--state-out", args.state_out);
  const TableFormat stdio = args.format == "npy" ? TableFormat::npy : TableFormat::csv;
  const TableFormat input_format = FormatOf(args.input, "--input", stdio);
  const TableFormat output_format = FormatOf(args.output, "--output", stdio);
  const auto model = OpenModel(args.model);
  const ModelInfo& info = model->info();
  if (info.config.family == formats::Family::tirex) {
    throw UsageError(args.model.path + ": expected a model that steps samples or tokens, got a " +
                     "TiRex model (see xst forecast)");
  }
  Sequence in = ReadSequence(args.input, input_format, info);
  if (output_format == TableFormat::csv && in.leading.size() != 1) {
    throw Error(Status::shape_mismatch, args.output +
                                            ": expected one column of steps for CSV, got " +
                                            std::to_string(in.columns) + " (write .npy)");
  }
  if (in.columns > kMaxColumns) {
    throw Error(Status::shape_mismatch, args.input + ": expected at most " +
                                            std::to_string(kMaxColumns) + " columns, got " +
                                            std::to_string(in.columns));
  }
  std::vector<std::vector<std::byte>> states;
  if (!args.state_in.empty()) {
    states = ReadStates(args.state_in, in.columns, info.snapshot_bytes);
  }

  std::vector<float> out(in.steps * in.columns * info.output_width);
  std::vector<std::vector<std::byte>> final_states;
  Session session(model);
  for (uint64_t column = 0; column < in.columns; ++column) {
    session.reset();
    if (!states.empty()) {
      Fault fault;
      if (session.load(states[column], {}, &fault) != Status::ok) {
        throw Error(fault.status,
                    args.state_in + ", column " + std::to_string(column) + ": " + fault.message);
      }
    }
    (args.mode == "step" ? StepColumn : ForwardColumn)(session, in, column, info, out);
    if (!args.state_out.empty()) final_states.push_back(session.save());
  }

  // The states are written in full before the output appears, and appear after it.
  std::optional<formats::OutputFile> state;
  if (!args.state_out.empty()) WriteStates(state.emplace(args.state_out), final_states);
  WriteSequence(args.output, output_format, info, in.leading, out);
  if (state) state->Commit();
}

}  // namespace

void AddRun(CLI::App* app) {
  auto args = std::make_shared<RunArgs>();
  CLI::App* command = app->add_subcommand("run", "Run a recorded input through a model");
  AddModelArgs(command, &args->model, true);
  command
      ->add_option("--input", args->input,
                   "X.npy: float32 [T,D] or [T,B,D], int64 tokens [T] or [T,B]; X.csv; - for "
                   "standard input")
      ->required()
      ->type_name("X");
  command
      ->add_option("--output", args->output,
                   "Y.npy or Y.csv, the same leading shape; - for standard output")
      ->required()
      ->type_name("Y");
  command
      ->add_option("--mode", args->mode,
                   "step: sample by sample; forward: the whole sequence in one call")
      ->check(CLI::IsMember({"step", "forward"}))
      ->type_name("MODE");
  command->add_option("--format", args->format, "of standard input and output: csv or npy")
      ->check(CLI::IsMember({"csv", "npy"}))
      ->type_name("F");
  command
      ->add_option("--state-in", args->state_in,
                   "continue from these states (one per column) instead of fresh ones")
      ->type_name("S");
  command->add_option("--state-out", args->state_out, "write the states after the last step")
      ->type_name("S");
  command->callback([args] { Run(*args); });
}

}  // namespace xst::cli
