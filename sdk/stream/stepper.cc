#include "sdk/stream/stepper.h"

#include <string>
#include <utility>

#include "formats/number.h"
#include "sdk/forecast.h"

namespace xst::stream {
namespace {

class SessionStepper : public Stepper {
 public:
  explicit SessionStepper(std::shared_ptr<const Model> model) : session_(std::move(model)) {}

  const ModelInfo& info() const override { return session_.model()->info(); }
  Status Step(std::span<const float> x, std::span<float> y, bool* answers) noexcept override {
    *answers = true;
    return session_.step(x, y);
  }
  uint32_t quality() const noexcept override { return session_.quality(); }
  void Reset() noexcept override { session_.reset(); }
  Status Save(std::span<std::byte> out) const noexcept override { return session_.save(out); }
  void Load(std::span<const std::byte> snapshot, const LoadOptions& options) override {
    session_.load(snapshot, options);
  }

 private:
  Session session_;
};

// "q0.1+1", "q0.2+1", …: quantile 0.1 one sample ahead, and so on.
std::vector<std::string> ForecastNames(const formats::TirexConfig& config) {
  std::vector<std::string> names;
  for (uint32_t ahead = 1; ahead <= config.forecast.horizon; ++ahead) {
    for (const double quantile : config.quantiles) {
      std::string name = "q";
      formats::AppendNumber(quantile, &name);
      names.push_back(name + "+" + std::to_string(ahead));
    }
  }
  return names;
}

class ForecastStepper : public Stepper {
 public:
  explicit ForecastStepper(std::shared_ptr<const Model> model)
      : info_(model->info()), forecaster_(std::move(model)) {
    const formats::TirexConfig& config = info_.config.tirex;
    const uint64_t values = uint64_t{config.forecast.horizon} * config.quantiles.size();
    if (values > kMaxForecastValues) {
      throw Error(Status::invalid_argument,
                  "forecast.horizon: expected at most " + std::to_string(kMaxForecastValues) +
                      " values a forecast of a live stream, got " + std::to_string(values) + " (" +
                      std::to_string(config.forecast.horizon) + " samples of " +
                      std::to_string(config.quantiles.size()) + " quantiles)");
    }
    info_.input_width = 1;
    info_.output_width = static_cast<uint32_t>(values);
    info_.output_names = ForecastNames(config);
    info_.snapshot_bytes = forecaster_.snapshot_bytes();
  }

  const ModelInfo& info() const override { return info_; }
  Status Step(std::span<const float> x, std::span<float> y, bool* answers) noexcept override {
    forecaster_.push(x[0]);
    *answers = forecaster_.due();
    return *answers ? forecaster_.forecast(y) : Status::ok;
  }
  uint32_t quality() const noexcept override {
    const bool first = forecaster_.samples() == info_.config.tirex.forecast.every;
    return first ? uint32_t{kReset} : 0;
  }
  void Reset() noexcept override { forecaster_.reset(); }
  Status Save(std::span<std::byte> out) const noexcept override { return forecaster_.save(out); }
  void Load(std::span<const std::byte> snapshot, const LoadOptions& options) override {
    forecaster_.load(snapshot, options);
  }

 private:
  ModelInfo info_;  // of samples and forecasts; the model's own is of patches
  Forecaster forecaster_;
};

}  // namespace

std::unique_ptr<Stepper> MakeStepper(std::shared_ptr<const Model> model) {
  if (model->info().tokens) {
    throw Error(Status::invalid_argument,
                "model: expected one that reads sensor samples, got a model of tokens");
  }
  if (model->info().config.family == formats::Family::tirex) {
    return std::make_unique<ForecastStepper>(std::move(model));
  }
  return std::make_unique<SessionStepper>(std::move(model));
}

}  // namespace xst::stream
