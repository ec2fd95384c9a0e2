#include "bindings/c/model.h"

#include <algorithm>
#include <cstring>
#include <string>
#include <vector>

#include "bindings/c/last_error.h"
#include "sdk/names.h"

namespace {

using xst::Status;
using xst::c::Fail;
using xst::c::FailNull;
using xst::c::FailQuietly;

// Copies the bytes that the struct of a caller, which says its size first, shares with ours.
template <class T>
void CopyShared(const T& from, T* to, size_t struct_bytes) {
  std::memcpy(to, &from, std::min(struct_bytes, sizeof(T)));
}

template <class T>
xst_status CheckSize(const char* what, const T& given) {
  if (given.struct_bytes >= sizeof(size_t)) return XST_OK;
  return FailQuietly(Status::invalid_argument, what, "at least ", sizeof(size_t),
                     static_cast<int64_t>(given.struct_bytes));
}

xst_status Convert(const xst_model_options* from, xst::Options* to) {
  if (!from) return XST_OK;
  xst_model_options given = {};
  if (const xst_status s = CheckSize("options.struct_bytes", *from); s != XST_OK) return s;
  CopyShared(*from, &given, from->struct_bytes);
  // What a newer caller asks for behind ours is refused unless it is a default.
  const auto* bytes = reinterpret_cast<const unsigned char*>(from);
  for (size_t i = sizeof given; i < from->struct_bytes; ++i) {
    if (bytes[i] != 0) {
      return FailQuietly(Status::invalid_argument, "options.struct_bytes", "up to ", sizeof given,
                         static_cast<int64_t>(from->struct_bytes));
    }
  }
  xst::Fault fault;
  if (given.device && xst::Device::Parse(given.device, &to->device, &fault) != Status::ok) {
    return Fail(fault);
  }
  if (given.isa) to->isa = given.isa;
  if (given.arithmetic > XST_ARITHMETIC_WIDE) {
    return FailQuietly(Status::invalid_argument, "options.arithmetic", "up to ",
                       XST_ARITHMETIC_WIDE, given.arithmetic);
  }
  to->arithmetic = static_cast<xst::Arithmetic>(given.arithmetic);
  to->resident = given.resident != 0;
  to->bf16_forward = given.bf16_forward != 0;
  to->check_full = given.check_full != 0;
  to->in_place = given.in_place != 0;
  return XST_OK;
}

// `source` gives what Model::open takes.
template <class Source>
xst_status Open(const char* short_of_memory, const char* name, const Source& source,
                const xst_model_options* options, xst_model** out) {
  return xst::c::Guarded(short_of_memory, [&] {
    xst::Options converted;
    if (const xst_status s = Convert(options, &converted); s != XST_OK) return s;
    auto opened = std::make_unique<xst_model>(xst::Model::open(source(), converted));
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

xst_status xst::c::CheckTokens(const ModelInfo& info, std::span<const int64_t> tokens) noexcept {
  const uint32_t vocabulary = formats::VocabSize(info.config);
  for (const int64_t token : tokens) {
    if (token < 0 || token >= vocabulary) {
      return FailQuietly(Status::invalid_argument, "token", "one from 0 to ", vocabulary - 1,
                         token);
    }
  }
  return XST_OK;
}

uint32_t xst_version(void) {
  return XST_VERSION_MAJOR * 1000000 + XST_VERSION_MINOR * 1000 + XST_VERSION_PATCH;
}

const char* xst_version_string(void) { return XST_VERSION; }

xst_status xst_model_open(const char* path, const xst_model_options* options, xst_model** model) {
  if (!path || !model) return FailNull("xst_model_open: expected objects and buffers, got null");
  return Open(
      "xst_model_open: expected memory, got none", path, [&] { return std::string(path); }, options,
      model);
}

xst_status xst_model_open_memory(const void* bytes, size_t count, const xst_model_options* options,
                                 xst_model** model) {
  if (!bytes || !model)
    return FailNull("xst_model_open_memory: expected objects and buffers, got null");
  const std::span memory(static_cast<const std::byte*>(bytes), count);
  return Open(
      "xst_model_open_memory: expected memory, got none", "model in memory", [&] { return memory; },
      options, model);
}

void xst_model_destroy(xst_model* model) { delete model; }

xst_status xst_model_get_info(const xst_model* model, xst_model_info* info) {
  if (!model || !info)
    return FailNull("xst_model_get_info: expected objects and buffers, got null");
  if (const xst_status s = CheckSize("info.struct_bytes", *info); s != XST_OK) return s;
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
      .arena_bytes = 0,
  };
  CopyShared(all, info, info->struct_bytes);
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
  if (!model || !result)
    return FailNull("xst_model_verify: expected objects and buffers, got null");
  if (const xst_status s = CheckSize("result.struct_bytes", *result); s != XST_OK) return s;
  return xst::c::Guarded("xst_model_verify: expected memory, got none", [&] {
    const xst::ProbeResult r = model->model->verify();
    const xst_probe_result all = {.struct_bytes = result->struct_bytes,
                                  .steps = r.steps,
                                  .pass = r.pass(),
                                  .error = r.error,
                                  .error_full = r.error_full,
                                  .error_framework = r.error_framework,
                                  .largest = r.largest,
                                  .bound = r.bound};
    CopyShared(all, result, result->struct_bytes);
    return xst_status{XST_OK};
  });
}
