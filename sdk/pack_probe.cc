#include "sdk/probe.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>

#include "sdk/recording.h"
#include "sdk/scratch_folder.h"
#include "sdk/session.h"

namespace xst {
namespace {

constexpr uint32_t kDefaultSteps = 16, kFewSteps = 2;
constexpr uint64_t kMaxProbeValues = uint64_t{1} << 27;  // 512 MiB of a directory's 1 GiB
constexpr uint64_t kManyParameters = uint64_t{1} << 26;  // from here on a step takes a while
// Another instruction set rounds elsewhere; its error stays well inside these multiples of ours.
constexpr double kCpuMargin = 16, kCudaMargin = 32, kFloor = 2e-6;

std::vector<float> RandomInput(const formats::ModelConfig& config, uint32_t steps) {
  std::mt19937 bits(20260101);
  // A sum of uniforms: the same on every standard library, unlike normal_distribution.
  const auto normal = [&] {
    double z = -6;
    for (int k = 0; k < 12; ++k) z += static_cast<double>(bits()) / 4294967296.0;
    return z;
  };
  const uint32_t vocabulary = formats::VocabSize(config), width = formats::InputWidth(config);
  std::vector<float> input;
  for (uint32_t t = 0; t < steps; ++t) {
    for (uint32_t i = 0; i < width; ++i) {
      if (vocabulary > 0) {
        input.push_back(static_cast<float>(bits() % vocabulary));
      } else if (config.family == formats::Family::tirex) {
        input.push_back(i < config.tirex.patch ? static_cast<float>(normal()) : 1.0f);
      } else if (config.stream) {
        const formats::StreamInput& in = config.stream->inputs[i];
        input.push_back(static_cast<float>(normal() * in.std + in.mean));
      } else {
        input.push_back(static_cast<float>(normal()));
      }
    }
  }
  return input;
}

// The number of parameters from the manifest's shapes.
uint64_t Parameters(const formats::ModelConfig& config) {
  uint64_t sum = 0;
  for (const formats::TensorSpec& spec : formats::Manifest(config)) sum += spec.rows * spec.cols;
  return sum;
}

class Prover : public formats::ProbeMaker {
 public:
  Prover(const std::string& source, const std::string& path, const formats::PackOptions& options,
         const formats::Array* input, std::span<const float> framework)
      : source_(source), path_(path), options_(options), input_(input), framework_(framework) {}

  void Begin(const formats::ModelConfig& config, formats::Probe* probe) override {
    if (input_) {
      probe->input = TakeRecording("probe", config, *input_);
      probe->steps = static_cast<uint32_t>(input_->shape[0]);
    } else {
      probe->steps = Parameters(config) < kManyParameters ? kDefaultSteps : kFewSteps;
      probe->input = RandomInput(config, probe->steps);
    }
    const uint64_t width = formats::OutputWidth(config);
    const uint64_t row = formats::InputWidth(config) + (framework_.empty() ? 2 : 3) * width;
    if (probe->steps * row > kMaxProbeValues) {
      throw Error(Status::invalid_argument,
                  "probe: expected at most " + std::to_string(kMaxProbeValues / row) +
                      " steps of this model, got " + std::to_string(probe->steps));
    }
    if (!framework_.empty() && framework_.size() != probe->steps * width) {
      throw Error(Status::shape_mismatch, "probe: expected " +
                                              std::to_string(probe->steps * width) +
                                              " values of the framework's output, got " +
                                              std::to_string(framework_.size()));
    }
    probe->framework.assign(framework_.begin(), framework_.end());
  }

  void Finish(const std::string& model, formats::Probe* probe) override {
    probe->expected_stored = Reference(model, *probe);
    probe->expected =
        options_.dtype == formats::DType::f32 ? probe->expected_stored : OnFullWeights(*probe);
    Options single;  // as a GPU computes, which has no wide arithmetic
    single.arithmetic = Arithmetic::single;
    const double own = LargestDifference(
        RunProbe(Model::open(model, single), probe->steps, probe->input), probe->expected_stored);
    if (!std::isfinite(own)) {
      throw Error(Status::invalid_argument,
                  "probe: expected outputs that float32 can hold, got an overflow");
    }
    const double floor = kFloor * LargestMagnitude(probe->expected_stored);
    probe->bound_cpu = static_cast<float>(std::max(kCpuMargin * own, floor));
    probe->bound_cuda = static_cast<float>(std::max(kCudaMargin * own, floor));
  }

 private:
  static std::vector<float> Reference(const std::string& model, const formats::Probe& probe) {
    Options oracle;
    oracle.device.kind = Device::Kind::reference;
    return RunProbe(Model::open(model, oracle), probe.steps, probe.input);
  }

  std::vector<float> OnFullWeights(const formats::Probe& probe) const {
    formats::PackOptions full = options_;
    full.probe = nullptr;
    full.rounder = nullptr;
    full.dtype = formats::LosslessDType(source_, options_);
    if (full.dtype == options_.dtype) return probe.expected_stored;
    const ScratchFolder scratch(path_);
    formats::PackModel(source_, scratch.file("full.xst"), full);
    return Reference(scratch.file("full.xst"), probe);
  }

  const std::string &source_, &path_;
  const formats::PackOptions& options_;
  const formats::Array* input_;
  const std::span<const float> framework_;
};

}  // namespace

formats::Remarks PackWithProbe(const std::string& source, const std::string& path,
                               const formats::PackOptions& options, const formats::Array* input,
                               std::span<const float> framework) {
  Prover prover(source, path, options, input, framework);
  formats::PackOptions with_probe = options;
  with_probe.probe = &prover;
  return formats::PackModel(source, path, with_probe);
}

}  // namespace xst
