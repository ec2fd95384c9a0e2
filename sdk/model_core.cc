#include "sdk/model_core.h"

#include <algorithm>
#include <cstdio>
#include <limits>
#include <new>

#include "formats/snapshot.h"
#include "sdk/model_parts.h"

namespace xst {
namespace {

Status CheckDevice(const Options& options, Fault* fault) {
  if (options.device.kind != Device::Kind::cpu && !options.isa.empty()) {
    return fault->Set(Status::invalid_argument, "isa: expected none with device %s, got '%s'",
                      options.device.ToString().c_str(), options.isa.c_str());
  }
  const uint32_t threads = options.device.threads;
  const uint32_t most = options.device.kind == Device::Kind::cpu ? kMaxMembers : 1;
  if (threads < 1 || threads > most) {
    return fault->Set(Status::invalid_argument, "device: expected 1 to %u threads, got %u", most,
                      threads);
  }
  const std::vector<std::string> have = AvailableIsas();
  if (options.isa.empty() || std::find(have.begin(), have.end(), options.isa) != have.end()) {
    return Status::ok;
  }
  std::string names;
  for (const std::string& name : have) names += (names.empty() ? "" : ", ") + name;
  return fault->Set(Status::no_instruction_set, "isa: expected one this machine has (%s), got '%s'",
                    names.c_str(), options.isa.c_str());
}

void FillOutputs(const formats::StreamConfig& stream, ModelInfo* info) {
  for (const formats::StreamInput& in : stream.inputs) {
    info->input_names.push_back(in.name);
    info->input_units.push_back(in.unit);
  }
  info->rate_hz = stream.rate_hz;
  if (!stream.head) return;
  info->output_names = stream.ValueNames();
  for (const formats::StreamOutput& out : stream.outputs) {
    const bool two = out.kind == formats::OutputKind::gaussian;
    // A value of an input is in that input's unit unless it says otherwise.
    std::string unit = out.unit;
    const bool of_input = out.kind == formats::OutputKind::value || two;
    if (unit.empty() && of_input && out.of >= 0) unit = stream.inputs[out.of].unit;
    info->output_units.insert(info->output_units.end(), two ? 2 : out.names.size(), unit);
  }
}

void FillInfo(ModelCore* core) {
  const formats::Directory& d = core->directory;
  const Plan& plan = core->plan;
  ModelInfo& info = core->info;
  info.config = d.config;
  info.dtype = d.dtype;
  info.tokens = plan.tokens;
  info.input_width = core->input_width();
  info.output_width = core->output_width();
  if (d.config.stream) FillOutputs(*d.config.stream, &info);
  for (const formats::StoredTensor& t : d.tensors) info.weight_bytes += core->StepBytes(t);
  info.state_bytes = plan.state_values * sizeof(float);
  const uint32_t elements =
      core->team ? core->team_plan.frame_size : plan.frame_size - core->away();
  info.session_bytes = uint64_t{elements} * core->element_bytes();
  info.snapshot_bytes = formats::SnapshotBytes(plan.state_values);
  info.flops = plan.flops;
  info.file_bytes = core->file.bytes().size();
  info.arch_hash = formats::Hex(d.arch_hash).digits;
  info.source_hash = formats::Hex(d.source_hash).digits;
  char file_hash[17];
  std::snprintf(file_hash, sizeof file_hash, "%016llx",
                static_cast<unsigned long long>(d.file_hash));
  info.file_hash = file_hash;
  info.config_yaml = d.config_yaml;
  info.packer = d.packer;
  info.source = d.source;
  info.probe_steps = d.probe.steps;
  info.device = core->device.ToString();
  info.arithmetic = core->on_reference() ? "double" : core->wide ? "wide" : "single";
  info.isa = core->device_model ? core->device_model->name()
             : core->wide       ? core->wide_kernels->name
                                : core->single_kernels->name;
}

// What computes the model: a device of its own, or a table of kernels.
Status ChooseKernels(const Options& options, ModelCore* core, Fault* fault) {
  if (core->on_reference()) {
    core->wide = true;
    core->wide_kernels = &kernels::ReferenceKernels();
    return Status::ok;
  }
  core->wide = TakesDouble(options.arithmetic, core->info.parameters, core->plan.state_values);
  if (options.device.kind == Device::Kind::cuda) {
    return OpenCudaModel({.plan = &core->plan,
                          .index = options.device.index,
                          .wide = core->wide,
                          .resident = options.resident,
                          .bf16_forward = options.bf16_forward},
                         &core->device_model, fault);
  }
  const std::string isa = options.isa.empty() ? AvailableIsas().front() : options.isa;
  if (core->wide) {
    core->wide_kernels = kernels::FindCpuKernels<double>(isa.c_str());
  } else {
    core->single_kernels = kernels::FindCpuKernels<float>(isa.c_str());
  }
  return Status::ok;
}

}  // namespace

template <class T>
void ModelCore::RunSplit(T* frame) const {
  struct Split {
    const TeamPlan& plan;
    const kernels::Kernels<T>& table;
    T* frame;
  } split{team_plan, table<T>(), frame};
  const auto share = [](Team& all, uint32_t member, void* arg) {
    const Split& step = *static_cast<const Split*>(arg);
    for (const TeamStep& s : step.plan.members[member]) {
      if (s.publish) all.Publish(member, s.publish);
      if (s.wait) all.Wait(member, s.wait);
      Run(step.table, s.op, step.frame, s.units);
    }
  };
  if (team->Run(share, &split)) return;
  for (const TeamStep& s : team_plan.in_order) Run(split.table, s.op, frame, s.units);
}
template void ModelCore::RunSplit(float*) const;
template void ModelCore::RunSplit(double*) const;

uint64_t ModelCore::StepBytes(const formats::StoredTensor& t) const {
  const formats::ModelConfig& c = directory.config;
  const bool tied =
      c.family == formats::Family::large ? c.large.tie_weights : c.block_stack.tie_weights;
  // A step reads one row of a table that is only an embedding.
  const bool gathered = t.spec.name == "embedding" && !tied;
  return (t.length + t.scale_length) / (gathered ? t.spec.rows : 1);
}

Status OpenCore(Memory file, const std::string& name, const Options& options,
                std::unique_ptr<const ModelCore>* out, Fault* fault) {
  try {
    auto core = std::make_unique<ModelCore>();
    if (const Status s = CheckDevice(options, fault); s != Status::ok) return s;
    core->device = options.device;
    core->file = std::move(file);
    const auto check = options.check_full || !core->file.mapped_file() ? formats::Check::full
                                                                       : formats::Check::ranges;
    Fault why;
    if (ReadModel(core->file.bytes(), check, &core->directory, &why) != Status::ok) {
      return fault->Set(why.status, "%s: %s", name.c_str(), why.message);
    }
    core->info.parameters = CountParameters(core->directory);
    core->plan = BuildPlan(core->directory);
    if (const Status s = ChooseKernels(options, core.get(), fault); s != Status::ok) return s;
    if (core->device.threads > 1) {
      core->team_plan = BuildTeamPlan(core->plan, core->device.threads);
      if (!core->team_plan.IsOneMembers()) {
        const Status s = Team::Create(core->device.threads, &core->team, fault);
        if (s != Status::ok) return s;
      }
    }
    FillInfo(core.get());
    if (core->info.session_bytes > std::numeric_limits<size_t>::max() / 2) {  // 32-bit addresses
      return fault->Set(Status::out_of_memory,
                        "%s: expected memory for a stream of %llu bytes, got %zu-bit addresses",
                        name.c_str(), static_cast<unsigned long long>(core->info.session_bytes),
                        8 * sizeof(size_t));
    }
    *out = std::move(core);
    return Status::ok;
  } catch (const std::bad_alloc&) {
    return fault->Set(Status::out_of_memory, "%s: expected memory for the model, got none",
                      name.c_str());
  }
}

}  // namespace xst
