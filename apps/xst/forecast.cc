// xst forecast: quantiles of what comes behind recorded series, by a TiRex model.
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "apps/xst/commands.h"
#include "apps/xst/table.h"
#include "formats/npy.h"
#include "sdk/forecast.h"
#include "sdk/names.h"

namespace xst::cli {
namespace {

constexpr uint64_t kMaxSeries = 1 << 20;  // an array of no samples can claim any number

struct ForecastArgs {
  ModelArgs model;
  std::string input, output;
  std::optional<uint32_t> horizon, rollout;
};

void ExpectNpy(const std::string& option, const std::string& path) {
  if (FormatOf(path, option, TableFormat::npy) != TableFormat::npy) {
    throw UsageError(option + ": expected a .npy file or -, got " + path);
  }
}

// [B][T] float32; a single series is a batch of one.
formats::Array ReadSeries(const std::string& path) {
  const std::string label = path == "-" ? "standard input" : path;
  formats::Array series = formats::ReadNpy(path);
  if (!series.is_f32) {
    throw Error(Status::shape_mismatch, label + ": expected float32 values, got int64");
  }
  if (series.shape.size() == 1) series.shape.insert(series.shape.begin(), 1);
  if (series.shape.size() != 2 || series.shape[0] > kMaxSeries) {
    throw Error(Status::shape_mismatch, label + ": expected shape [T] or [B, T] with B up to " +
                                            std::to_string(kMaxSeries) + ", got " +
                                            Bracketed(series.shape));
  }
  return series;
}

void Forecast(const ForecastArgs& args) {
  ExpectNpy("--input", args.input);
  ExpectNpy("--output", args.output);
  const auto model = OpenModel(args.model);
  const formats::ModelConfig& config = model->info().config;
  if (config.family != formats::Family::tirex) {
    throw UsageError(args.model.path + ": expected a model of family tirex, got " +
                     Name(config.family) + " (see xst run)");
  }
  const formats::Array series = ReadSeries(args.input);
  const uint64_t batch = series.shape[0], samples = series.shape[1];
  const uint32_t horizon = args.horizon.value_or(config.tirex.forecast.horizon);
  const uint32_t rollout = args.rollout.value_or(config.tirex.forecast.rollout);

  Forecaster forecaster(model);
  const uint64_t width = uint64_t{horizon} * forecaster.quantiles();
  std::vector<float> out(CountFloats("outputs", {batch, width}));
  for (uint64_t b = 0; b < batch; ++b) {
    const Status status =
        forecaster.forecast(std::span(series.f32).subspan(b * samples, samples), horizon, rollout,
                            std::span(out).subspan(b * width, width));
    if (status != Status::ok) {
      throw Error(status, "series " + std::to_string(b) +
                              ": expected a forecast, got: " + Describe(status));
    }
  }
  formats::WriteNpy(args.output, {batch, horizon, forecaster.quantiles()}, out.data());
}

}  // namespace

void AddForecast(CLI::App* app) {
  auto args = std::make_shared<ForecastArgs>();
  CLI::App* command =
      app->add_subcommand("forecast", "Quantiles of what comes behind series, by a TiRex model");
  AddModelArgs(command, &args->model, true);
  command
      ->add_option("--input", args->input,
                   "X.npy: float32 [B,T] or [T], NaN (and what is infinite or beyond 1e30) = "
                   "missing; - for standard input (.npy)")
      ->required()
      ->type_name("X");
  command
      ->add_option("--output", args->output, "Y.npy: float32 [B,H,Q]; - for standard output (.npy)")
      ->required()
      ->type_name("Y");
  command
      ->add_option("--horizon", args->horizon, "samples to forecast (default: as the model says)")
      ->check(CLI::Range(1u, formats::kMaxHorizon))
      ->type_name("H");
  command
      ->add_option("--rollout", args->rollout,
                   "patches from one pass over the context at most (default: as the model says)")
      ->check(CLI::Range(1u, formats::kMaxHorizon))
      ->type_name("K");
  command->callback([args] { Forecast(*args); });
}

}  // namespace xst::cli
