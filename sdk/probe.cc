#include "sdk/probe.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "sdk/model_core.h"
#include "sdk/session.h"

namespace xst {

std::vector<float> RunProbe(std::shared_ptr<const Model> model, uint32_t steps,
                            std::span<const float> input) {
  const ModelInfo& info = model->info();
  Session session(model);
  std::vector<float> out(size_t{steps} * info.output_width);
  if (info.tokens) {
    const std::vector<int64_t> tokens(input.begin(), input.end());
    session.forward(tokens, out);
  } else {
    session.forward(input, out);
  }
  return out;
}

RoundingError ProbeRoundingError(const Model& model) {
  const formats::Probe& probe = model.core().directory.probe;
  RoundingError error;
  error.largest = LargestDifference(probe.expected_stored, probe.expected);
  const double output = LargestMagnitude(probe.expected);
  error.relative = output > 0 ? error.largest / output : 0;
  return error;
}

double LargestDifference(std::span<const float> a, std::span<const float> b) {
  double largest = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    if (std::isnan(a[i]) && std::isnan(b[i])) continue;
    const double d = std::abs(double{a[i]} - double{b[i]});
    largest = std::isnan(d) ? std::numeric_limits<double>::infinity() : std::max(largest, d);
  }
  return largest;
}

double LargestMagnitude(std::span<const float> a) {
  double largest = 0;
  for (float v : a) {
    if (std::isfinite(v)) largest = std::max(largest, std::abs(double{v}));
  }
  return largest;
}

}  // namespace xst
