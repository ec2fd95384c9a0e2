#include "bindings/c/model.h"

#include <cstring>
#include <string>
#include <vector>

#include "bindings/c/last_error.h"
#include "sdk/names.h"

namespace {

using xst::Status;
using xst::c::Fail;
using xst::c::FailQuietly;

// A struct that the caller says the size of: what it has of ours, zeros behind.
template <class T>
bool Sized(size_t struct_bytes) {
  return struct_bytes >= sizeof(size_t) && struct_bytes <= sizeof(T);
}

xst_status Convert(const xst_model_options* from, xst::Options* to) {
  if (!from) return XST_OK;
  xst_model_options given = {};
  if (!Sized<xst_model_options>(from->struct_bytes)) {
    return FailQuietly(Status::invalid_argument, "options.struct_bytes", sizeof given,
                       from->struct_bytes);
  }
  std::memcpy(&given, from, from->struct_bytes);
  xst::Fault fault;
  if (given.device && xst::Device::Parse(given.device, &to->device, &fault) != Status::ok) {
    return Fail(fault);
  }
  if (given.isa) to->isa = given.isa;
  if (given.arithmetic > XST_ARITHMETIC_WIDE) {
    return FailQuietly(Status::invalid_argument, "options.arithmetic", XST_ARITHMETIC_WIDE,
                       given.arithmetic);
  }
  to->arithmetic = static_cast<xst::Arithmetic>(given.arithmetic);
  to->resident = given.resident != 0;
  to->bf16_forward = given.bf16_forward != 0;
  to->check_full = given.check_full != 0;
  return XST_OK;
}

template <class Source>
xst_status Open(const char* short_of_memory, const char* name, const Source& source,
                const xst_model_options* options, xst_model** out) {
  return xst::c::Guarded(short_of_memory, [&] {
    xst::Options converted;
    if (const xst_status s = Convert(options, &converted); s != XST_OK) return s;
    auto opened = std::make_unique<xst_model>(xst::Model::open(source, converted));
    const xst::ModelInfo& info = opened->model->info();
    const std::string line = std::string(name) + ": opened on " + info.device + " (" + info.isa +
                             "), " + std::to_string(info.weight_bytes) + " bytes of weights";
    xst::c::LogInfo(line.c_str());
    *out = opened.release();
    return xst_status{XST_OK};
  });
}

const char* At(const xst_model* model, uint32_t index, uint32_t xst::ModelInfo::*width,
               std::vector<std::string> xst::ModelInfo::*names) {
  if (!model) return nullptr;
  const xst::ModelInfo& info = model->model->info();
  if (index >= info.*width) return nullptr;
  return index < (info.*names).size() ? (info.*names)[index].c_str() : "";
}

}  // namespace

uint32_t xst_version(void) {
  return XST_VERSION_MAJOR * 1000000 + XST_VERSION_MINOR * 1000 + XST_VERSION_PATCH;
}

const char* xst_version_string(void) { return XST_VERSION; }

xst_status xst_model_open(const char* path, const xst_model_options* options, xst_model** model) {
  if (!path || !model) return FailQuietly(Status::invalid_argument, "xst_model_open: null");
  return Open("xst_model_open: expected memory, got none", path, std::string(path), options, model);
}

xst_status xst_model_open_memory(const void* bytes, size_t count, const xst_model_options* options,
                                 xst_model** model) {
  if (!bytes || !model) return FailQuietly(Status::invalid_argument, "xst_model_open_memory: null");
  const std::span memory(static_cast<const std::byte*>(bytes), count);
  return Open("xst_model_open_memory: expected memory, got none", "model in memory", memory,
              options, model);
}

void xst_model_destroy(xst_model* model) { delete model; }

xst_status xst_model_get_info(const xst_model* model, xst_model_info* info) {
  if (!model || !info) return FailQuietly(Status::invalid_argument, "xst_model_get_info: null");
  if (!Sized<xst_model_info>(info->struct_bytes)) {
    return FailQuietly(Status::invalid_argument, "info.struct_bytes", sizeof *info,
                       info->struct_bytes);
  }
  const xst::ModelInfo& m = model->model->info();
  const xst_model_info all = {
      .struct_bytes = info->struct_bytes,
      .tokens = m.tokens,
      .input_width = m.input_width,
      .output_width = m.output_width,
      .probe_steps = m.probe_steps,
      .rate_hz = m.rate_hz,
      .parameters = m.parameters,
      .flops = m.flops,
      .weight_bytes = m.weight_bytes,
      .state_bytes = m.state_bytes,
      .session_bytes = xst::c::SessionBytes(m),
      .snapshot_bytes = m.snapshot_bytes,
      .file_bytes = m.file_bytes,
      .family = xst::Name(m.config.family),
      .dtype = xst::Name(m.dtype),
      .device = m.device.c_str(),
      .isa = m.isa.c_str(),
      .arithmetic = m.arithmetic.c_str(),
      .arch_hash = m.arch_hash.c_str(),
      .source_hash = m.source_hash.c_str(),
      .file_hash = m.file_hash.c_str(),
      .config_yaml = m.config_yaml.c_str(),
  };
  std::memcpy(info, &all, info->struct_bytes);
  return XST_OK;
}

const char* xst_model_input_name(const xst_model* model, uint32_t index) {
  return At(model, index, &xst::ModelInfo::input_width, &xst::ModelInfo::input_names);
}
const char* xst_model_input_unit(const xst_model* model, uint32_t index) {
  return At(model, index, &xst::ModelInfo::input_width, &xst::ModelInfo::input_units);
}
const char* xst_model_output_name(const xst_model* model, uint32_t index) {
  return At(model, index, &xst::ModelInfo::output_width, &xst::ModelInfo::output_names);
}
const char* xst_model_output_unit(const xst_model* model, uint32_t index) {
  return At(model, index, &xst::ModelInfo::output_width, &xst::ModelInfo::output_units);
}

xst_status xst_model_verify(const xst_model* model, xst_probe_result* result) {
  if (!model || !result) return FailQuietly(Status::invalid_argument, "xst_model_verify: null");
  return xst::c::Guarded("xst_model_verify: expected memory, got none", [&] {
    const xst::ProbeResult r = model->model->verify();
    *result = {.steps = r.steps,
               .pass = r.pass(),
               .error = r.error,
               .error_full = r.error_full,
               .error_framework = r.error_framework,
               .largest = r.largest,
               .bound = r.bound};
    return xst_status{XST_OK};
  });
}
