// The exception-free core of Model: the file's bytes, their directory, the Plan and the kernels
// that run it.
#pragma once

#include <memory>
#include <string>

#include "formats/model_file.h"
#include "kernels/kernels.h"
#include "sdk/memory.h"
#include "sdk/model.h"
#include "sdk/plan.h"

namespace xst {

struct ModelCore {
  Memory file;
  formats::Directory directory;  // points into `file`
  Plan plan;                     // points into `file`
  Device device;
  // One of them: frames are of its type.
  const kernels::Kernels<float>* single = nullptr;
  const kernels::Kernels<double>* wide = nullptr;
  ModelInfo info;

  bool on_reference() const { return device.kind == Device::Kind::reference; }
  uint32_t input_width() const {
    return plan.wrapper ? plan.wrapper->input_width() : plan.input_width;
  }
  uint32_t output_width() const {
    return plan.wrapper ? plan.wrapper->output_width() : plan.output_width;
  }
};

// Takes the file's bytes over. `name` starts the message of a Fault.
Status OpenCore(Memory file, const std::string& name, const Options& options,
                std::unique_ptr<const ModelCore>* out, Fault* fault);

}  // namespace xst
