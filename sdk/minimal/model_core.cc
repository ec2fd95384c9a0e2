#include "sdk/minimal/model_core.h"

#include <cstdio>
#include <cstring>

#include "sdk/model_parts.h"
#include "sdk/names.h"

namespace xst {
namespace {

struct Request {
  std::span<const std::byte> file;
  Arithmetic arithmetic;
  ModelCore* out;
  Fault* fault;
  Status status = Status::ok;
};

Status ChooseKernels(Arithmetic asked, ModelCore* out, Fault* fault) {
  const char* const isa = *kernels::CpuKernelNames();
  out->single_kernels = kernels::FindCpuKernels<float>(isa);
  out->wide_kernels = kernels::FindCpuKernels<double>(isa);
  if (!out->single_kernels && !out->wide_kernels) {
    return fault->Set(Status::no_instruction_set,
                      "isa: expected a machine with %s, for which this was built, got another",
                      isa);
  }
  out->wide = TakesDouble(asked, out->info.parameters, out->plan.state_values);
  const bool have = out->wide ? out->wide_kernels != nullptr : out->single_kernels != nullptr;
  if (have) return Status::ok;
  if (asked != Arithmetic::automatic) {
    return fault->Set(Status::invalid_argument,
                      "arithmetic: expected %s, as in XST_MINIMAL_ARITHMETIC",
                      out->wide ? "single" : "wide");
  }
  out->wide = !out->wide;
  return Status::ok;
}

Status Open(const Request& request) {
  ModelCore& out = *request.out;
  formats::Directory d;
  if (const Status s = ReadModel(request.file, formats::Check::full, &d, request.fault);
      s != Status::ok) {
    return s;
  }
  if (!(XST_DTYPES >> static_cast<int>(d.dtype) & 1)) {
    return request.fault->Set(Status::unsupported_version,
                              "weights: expected a type of XST_MINIMAL_DTYPES, got %s",
                              Name(d.dtype));
  }
  const Plan plan = BuildPlan(d);
  KeepNew();
  out.plan = plan;
  ModelCore::Info& info = out.info;
  info.family = d.config.family;
  info.dtype = d.dtype;
  info.probe_steps = d.probe.steps;
  info.rate_hz = d.config.stream ? d.config.stream->rate_hz : 0;
  info.parameters = CountParameters(d);
  info.file_bytes = request.file.size();
  info.snapshot_bytes = formats::SnapshotBytes(out.plan.state_values);
  info.config_yaml = formats::ConfigText(request.file);
  out.arch_hash = d.arch_hash;
  out.source_hash = d.source_hash;
  info.arch_hash = formats::Hex(d.arch_hash);
  info.source_hash = formats::Hex(d.source_hash);
  std::snprintf(info.file_hash, sizeof info.file_hash, "%016llx",
                static_cast<unsigned long long>(d.file_hash));
  if (const Status s = ChooseKernels(request.arithmetic, &out, request.fault); s != Status::ok) {
    return s;
  }
  info.session_bytes = uint64_t{out.plan.frame_size} * out.element_bytes();
  return Status::ok;
}

}  // namespace

bool OpenInArena(std::span<const std::byte> file, Arithmetic arithmetic, Arena* arena,
                 ModelCore* out, Status* status, Fault* fault) {
  Request request = {file, arithmetic, out, fault};
  const bool held = RunInArena(
      arena,
      [](void* arg) {
        auto* r = static_cast<Request*>(arg);
        r->status = Open(*r);
      },
      &request);
  *status = request.status;
  return held;
}

}  // namespace xst
