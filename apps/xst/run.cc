// xst run: a recorded input through a model, as the live stream would have computed it.
#include <algorithm>
#include <memory>
#include <optional>
#include <span>

#include "apps/xst/commands.h"
#include "apps/xst/state_file.h"
#include "apps/xst/table.h"
#include "sdk/lanes.h"

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

// Some columns of the input as lanes: rows of [T][B][width] beside those of [lane][steps][width].
class Columns {
 public:
  Columns(Sequence& in, const ModelInfo& info, uint64_t first, uint32_t count,
          std::vector<float>& out)
      : in_(in), info_(info), first_(first), count_(count), out_(out) {}

  uint32_t count() const { return count_; }
  uint64_t first() const { return first_; }

  // Steps [t, t + steps) through `lanes`.
  void Run(Lanes& lanes, uint64_t t, uint64_t steps, bool forward) {
    mask_.assign(lanes.capacity(), 0);
    std::fill_n(mask_.begin(), count_, uint8_t{1});
    y_.resize(CountFloats("outputs", {lanes.capacity(), steps, info_.output_width}));
    Status status;
    if (info_.tokens) {
      Gather(in_.tokens, t, steps, 1, lanes.capacity(), &tokens_);
      const std::span<const int64_t> x(tokens_);
      status = forward ? lanes.forward(mask_, x, y_) : lanes.step(mask_, x, y_);
    } else {
      Gather(in_.values, t, steps, info_.input_width, lanes.capacity(), &values_);
      const std::span<const float> x(values_);
      status = forward ? lanes.forward(mask_, x, y_) : lanes.step(mask_, x, y_);
    }
    Check(status, t, first_);
    for (uint64_t i = 0; i < steps * count_; ++i) {
      const auto row = Row(y_, i, info_.output_width);
      std::copy(row.begin(), row.end(), Row(out_, Index(t, steps, i), info_.output_width).begin());
    }
  }

 private:
  // Of row i of [lane][steps] in [T][B].
  uint64_t Index(uint64_t t, uint64_t steps, uint64_t i) const {
    return (t + i % steps) * in_.columns + first_ + i / steps;
  }
  template <typename T>
  void Gather(std::vector<T>& array, uint64_t t, uint64_t steps, uint64_t width, uint32_t lanes,
              std::vector<T>* to) {
    to->assign(CountFloats("inputs", {lanes, steps, width}), T(0));
    for (uint64_t i = 0; i < steps * count_; ++i) {
      const auto row = Row(array, Index(t, steps, i), width);
      std::copy(row.begin(), row.end(), to->begin() + static_cast<ptrdiff_t>(i * width));
    }
  }

  Sequence& in_;
  const ModelInfo& info_;
  const uint64_t first_;
  const uint32_t count_;
  std::vector<float>& out_;
  std::vector<uint8_t> mask_;
  std::vector<float> values_, y_;
  std::vector<int64_t> tokens_;
};

using States = std::vector<std::vector<std::byte>>;

void Load(Lanes& lanes, const Columns& columns, const States& states, const std::string& file) {
  for (uint32_t lane = 0; lane < columns.count(); ++lane) {
    if (!lanes.attach()) throw Error(Status::device_failed, "lane: expected a free one, got none");
    if (states.empty()) continue;
    Fault fault;
    if (lanes.load(lane, states[columns.first() + lane], {}, &fault) != Status::ok) {
      throw Error(fault.status, file + ", column " + std::to_string(columns.first() + lane) + ": " +
                                    fault.message);
    }
  }
}

// Streams of one run: an array of no steps can claim any number.
constexpr uint64_t kMaxColumns = 1 << 20;
// Of them at once, as far as their states stay within kStateBytes.
constexpr uint64_t kLanes = 256, kStateBytes = uint64_t{1} << 30;

uint32_t LanesFor(const ModelInfo& info, uint64_t columns) {
  const uint64_t fit = kStateBytes / std::max<uint64_t>({info.session_bytes, info.state_bytes, 1});
  return static_cast<uint32_t>(std::min({columns, kLanes, std::max<uint64_t>(fit, 1)}));
}

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
  States states, final_states;
  if (!args.state_in.empty()) {
    states = ReadStates(args.state_in, in.columns, info.snapshot_bytes);
  }

  std::vector<float> out(CountFloats("outputs", {in.steps, in.columns, info.output_width}));
  const bool forward = args.mode == "forward";
  const uint32_t capacity = LanesFor(info, in.columns);
  for (uint64_t first = 0; first < in.columns; first += capacity) {
    Lanes lanes(model, capacity);
    Columns columns(in, info, first,
                    static_cast<uint32_t>(std::min<uint64_t>(in.columns - first, capacity)), out);
    Load(lanes, columns, states, args.state_in);
    if (forward && in.steps > 0) {
      columns.Run(lanes, 0, in.steps, true);
    } else {
      for (uint64_t t = 0; t < in.steps; ++t) columns.Run(lanes, t, 1, false);
    }
    if (args.state_out.empty()) continue;
    for (uint32_t lane = 0; lane < columns.count(); ++lane) {
      final_states.push_back(lanes.save(lane));
    }
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
