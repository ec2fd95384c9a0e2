#include "sdk/model.h"

#include <cstring>
#include <limits>

#include "sdk/model_core.h"
#include "sdk/probe.h"

namespace xst {
namespace {

constexpr size_t kCopyBelow = size_t{64} << 20;

std::unique_ptr<const ModelCore> OpenOrThrow(Memory file, const std::string& name,
                                             const Options& options) {
  std::unique_ptr<const ModelCore> core;
  Fault fault;
  if (OpenCore(std::move(file), name, options, &core, &fault) != Status::ok) throw Error(fault);
  return core;
}

}  // namespace

Model::Model(std::unique_ptr<const ModelCore> core) : core_(std::move(core)) {}
Model::~Model() = default;

std::shared_ptr<const Model> Model::open(const std::string& path, const Options& options) {
  Memory file;
  Fault fault;
  if (Memory::ReadFile(path, kCopyBelow, &file, &fault) != Status::ok) throw Error(fault);
  return std::shared_ptr<const Model>(new Model(OpenOrThrow(std::move(file), path, options)));
}

std::shared_ptr<const Model> Model::open(std::span<const std::byte> memory,
                                         const Options& options) {
  Memory file;
  Fault fault;
  if (options.in_place) {
    file = Memory::View(memory);
  } else {
    if (Memory::Allocate(memory.size(), &file, &fault) != Status::ok) throw Error(fault);
    if (!memory.empty()) std::memcpy(file.bytes().data(), memory.data(), memory.size());
  }
  return std::shared_ptr<const Model>(
      new Model(OpenOrThrow(std::move(file), "model in memory", options)));
}

const ModelInfo& Model::info() const { return core_->info; }

ProbeResult Model::verify() const {
  const formats::Probe& probe = core_->directory.probe;
  if (probe.steps == 0) throw Error(Status::not_found, "probe: expected one in the file, got none");
  const std::vector<float> out = RunProbe(shared_from_this(), probe.steps, probe.input);
  ProbeResult r;
  r.steps = probe.steps;
  r.error = LargestDifference(out, probe.expected_stored);
  r.error_full = LargestDifference(out, probe.expected);
  r.error_framework = probe.framework.empty() ? std::numeric_limits<double>::quiet_NaN()
                                              : LargestDifference(out, probe.framework);
  r.largest = LargestMagnitude(probe.expected_stored);
  r.bound = core_->device.kind == Device::Kind::cuda ? probe.bound_cuda : probe.bound_cpu;
  return r;
}

std::vector<std::string> AvailableIsas() {
  std::vector<std::string> names;
  for (const char* const* n = kernels::CpuKernelNames(); *n; ++n) names.push_back(*n);
  return names;
}

}  // namespace xst
