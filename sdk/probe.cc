#include "sdk/probe.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <limits>
#include <random>

#include "sdk/session.h"

namespace xst {
namespace {

constexpr uint32_t kDefaultSteps = 16;
// Another instruction set rounds elsewhere; its error stays well inside these multiples of ours.
constexpr double kCpuMargin = 16, kCudaMargin = 32, kFloor = 2e-6;

// A folder that is removed with everything in it.
class ScratchFolder {
 public:
  ScratchFolder() {
    std::string name = std::filesystem::temp_directory_path() / "xst-probe-XXXXXX";
    if (!mkdtemp(name.data())) {
      throw Error(Status::io_error, name + ": expected a temporary folder, got none");
    }
    path_ = name;
  }
  ~ScratchFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  ScratchFolder(const ScratchFolder&) = delete;
  ScratchFolder& operator=(const ScratchFolder&) = delete;
  std::string file(const char* name) const { return path_ / name; }

 private:
  std::filesystem::path path_;
};

std::vector<float> RandomInput(const ModelInfo& info, uint32_t steps) {
  std::mt19937 bits(20260101);
  std::vector<float> input;
  for (uint32_t t = 0; t < steps; ++t) {
    if (info.tokens) {
      input.push_back(static_cast<float>(bits() % formats::VocabSize(info.config)));
      continue;
    }
    for (uint32_t i = 0; i < info.input_width; ++i) {
      // A sum of uniforms: the same on every standard library, unlike normal_distribution.
      double z = -6;
      for (int k = 0; k < 12; ++k) z += static_cast<double>(bits()) / 4294967296.0;
      if (info.config.stream) {
        const formats::StreamInput& in = info.config.stream->inputs[i];
        z = z * in.std + in.mean;
      }
      input.push_back(static_cast<float>(z));
    }
  }
  return input;
}

void TakeInput(const ModelInfo& info, const formats::Array& array, formats::Probe* probe) {
  const size_t axes = info.tokens ? 1 : 2;
  if (array.is_f32 == info.tokens || array.shape.size() != axes || array.shape[0] == 0 ||
      array.shape[0] > formats::kMaxProbeSteps ||
      (!info.tokens && array.shape[1] != info.input_width)) {
    throw Error(Status::shape_mismatch,
                "probe: expected " +
                    (info.tokens ? std::string("int64 token ids [T]")
                                 : "float32 [T, " + std::to_string(info.input_width) + "]") +
                    " with T from 1 to " + std::to_string(formats::kMaxProbeSteps) +
                    ", got another array");
  }
  probe->steps = static_cast<uint32_t>(array.shape[0]);
  if (!info.tokens) {
    probe->input = array.f32;
    const auto bad = std::find_if_not(probe->input.begin(), probe->input.end(), IsUsable);
    if (info.config.stream || bad == probe->input.end()) return;
    throw Error(Status::invalid_argument, "probe: expected finite values for a bare model, got " +
                                              std::to_string(*bad) + " at index " +
                                              std::to_string(bad - probe->input.begin()));
  }
  for (int64_t token : array.i64) {
    if (token < 0 || token >= formats::VocabSize(info.config)) {
      throw Error(Status::invalid_argument, "probe: expected token ids below " +
                                                std::to_string(formats::VocabSize(info.config)) +
                                                ", got " + std::to_string(token));
    }
    probe->input.push_back(static_cast<float>(token));
  }
}

}  // namespace

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

formats::Probe MakeProbe(const std::string& source, const formats::PackOptions& options,
                         const formats::Array* input) {
  const ScratchFolder scratch;
  const std::string path = scratch.file("f32.xst");
  formats::PackOptions plain = options;
  plain.dtype = formats::DType::f32;
  plain.probe = {};
  formats::PackModel(source, path, plain);
  Options oracle;
  oracle.device.kind = Device::Kind::reference;
  const auto reference = Model::open(path, oracle);

  formats::Probe probe;
  if (input) {
    TakeInput(reference->info(), *input, &probe);
  } else {
    probe.steps = kDefaultSteps;
    probe.input = RandomInput(reference->info(), kDefaultSteps);
  }
  probe.expected = RunProbe(reference, probe.steps, probe.input);
  probe.expected_stored = probe.expected;
  const auto cpu = Model::open(path);
  const double own = LargestDifference(RunProbe(cpu, probe.steps, probe.input), probe.expected);
  if (options.dtype != formats::DType::f32) {
    const std::string stored = scratch.file("stored.xst");
    plain.dtype = options.dtype;
    formats::PackModel(source, stored, plain);
    const auto rounded = Model::open(stored, oracle);
    probe.expected_stored = RunProbe(rounded, probe.steps, probe.input);
  }
  const double floor = kFloor * LargestMagnitude(probe.expected_stored);
  if (!std::isfinite(own)) {
    throw Error(Status::invalid_argument,
                "probe: expected outputs that float32 can hold, got an overflow");
  }
  probe.bound_cpu = static_cast<float>(std::max(kCpuMargin * own, floor));
  probe.bound_cuda = static_cast<float>(std::max(kCudaMargin * own, floor));
  return probe;
}

}  // namespace xst
