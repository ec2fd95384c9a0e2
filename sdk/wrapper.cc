#include "sdk/wrapper.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>

#include "sdk/session.h"

namespace xst {

using formats::Missing;
using formats::OutputKind;
using formats::StreamOutput;

namespace {

constexpr double kMinLogVariance = -12, kMaxLogVariance = 4;

template <class T>
double LogVariance(const T* row) {
  return std::clamp(static_cast<double>(row[1]), kMinLogVariance, kMaxLogVariance);
}

template <class T>
void Softmax(const T* r, size_t n, float* out) {
  const double top = *std::max_element(r, r + n);
  double sum = 0;
  for (size_t i = 0; i < n; ++i) sum += std::exp(static_cast<double>(r[i]) - top);
  for (size_t i = 0; i < n; ++i) {
    out[i] = static_cast<float>(std::exp(static_cast<double>(r[i]) - top) / sum);
  }
}

}  // namespace

std::vector<uint32_t> SurpriseHorizons(const formats::StreamConfig& config) {
  std::vector<uint32_t> horizons;
  for (const StreamOutput& o : config.outputs) {
    if (o.kind == OutputKind::surprise) horizons.push_back(config.outputs[o.of].horizon);
  }
  return horizons;
}

Wrapper::Wrapper(const formats::StreamConfig& config, uint32_t embedding_dim, Slots slots)
    : config_(config),
      output_width_(config.head ? static_cast<uint32_t>(config.ValueNames().size())
                                : embedding_dim),
      slots_(std::move(slots)) {}

template <class T>
bool Wrapper::Before(const float* raw, T* frame) const {
  bool replaced = false;
  for (size_t i = 0; i < config_.inputs.size(); ++i) {
    const formats::StreamInput& in = config_.inputs[i];
    const auto z = static_cast<T>((raw[i] - in.mean) / in.std);
    const bool missing = !IsUsable(raw[i]) || !IsUsable(static_cast<float>(z));
    T& held = frame[slots_.held + i];
    if (!missing) held = z;
    // The mean, and zero in normalised units, are the same z.
    const T used = !missing || in.missing == Missing::hold ? held : T(0);
    frame[slots_.z + i] = used;
    frame[slots_.missing + i] = missing ? T(1) : T(0);
    if (!config_.encoder) frame[slots_.x + i] = used;
    replaced |= missing;
  }
  return replaced;
}

template <class T>
void Wrapper::After(uint64_t steps, T* frame, float* out) const {
  const T* r = frame + slots_.rows;
  if (!config_.head) {
    std::transform(r, r + output_width_, out, [](T v) { return static_cast<float>(v); });
    return;
  }
  // The prediction of z that row `r` of a value or gaussian makes.
  const auto predicted_z = [&](const StreamOutput& o, const T* row) {
    return static_cast<double>(*row) +
           (o.residual ? static_cast<double>(frame[slots_.z + o.of]) : 0.0);
  };
  const auto value = [&](const StreamOutput& o, const T* row) {
    if (o.of < 0) return static_cast<double>(*row);
    return predicted_z(o, row) * config_.inputs[o.of].std + config_.inputs[o.of].mean;
  };

  size_t ring = 0;
  for (const StreamOutput& o : config_.outputs) {
    switch (o.kind) {
      case OutputKind::raw:
        *out++ = static_cast<float>(*r++);
        break;
      case OutputKind::sigmoid:
        *out++ = static_cast<float>(1 / (1 + std::exp(-static_cast<double>(*r++))));
        break;
      case OutputKind::softmax:
        Softmax(r, o.names.size(), out);
        r += o.names.size();
        out += o.names.size();
        break;
      case OutputKind::value:
        *out++ = static_cast<float>(value(o, r));
        r += 1;
        break;
      case OutputKind::gaussian: {
        const double std = o.of < 0 ? 1 : config_.inputs[o.of].std;
        *out++ = static_cast<float>(value(o, r));
        *out++ = static_cast<float>(std::exp(LogVariance(r) / 2) * std);
        r += 2;
        break;
      }
      case OutputKind::surprise: {
        const StreamOutput& gaussian = config_.outputs[o.of];
        const T* row = frame + slots_.rows;
        for (int32_t i = 0; i < o.of; ++i) row += config_.outputs[i].HeadRows();
        T* then = frame + slots_.rings[ring++] + 2 * (steps % gaussian.horizon);
        if (steps < gaussian.horizon || frame[slots_.missing + gaussian.of] != T(0)) {
          *out++ = std::numeric_limits<float>::quiet_NaN();
        } else {
          const double s = static_cast<double>(then[1]);
          const double d =
              static_cast<double>(frame[slots_.z + gaussian.of]) - static_cast<double>(then[0]);
          *out++ =
              static_cast<float>(0.5 * (std::log(2 * std::numbers::pi) + s + d * d / std::exp(s)));
        }
        then[0] = static_cast<T>(predicted_z(gaussian, row));
        then[1] = static_cast<T>(LogVariance(row));
        break;
      }
    }
  }
}

template bool Wrapper::Before(const float*, float*) const;
template bool Wrapper::Before(const float*, double*) const;
template void Wrapper::After(uint64_t, float*, float*) const;
template void Wrapper::After(uint64_t, double*, float*) const;

}  // namespace xst
