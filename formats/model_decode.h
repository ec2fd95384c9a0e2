// From a verified flatbuffer directory to our own types. What it returns has bounded sizes and
// valid text, but is not yet a valid configuration: ValidateConfig decides that.
#pragma once

#include "formats/model_file.h"
#include "model_generated.h"

namespace xst::formats {

Status DecodeConfig(const fb::Directory& from, ModelConfig* config, Fault* fault);
Status DecodeProvenance(const fb::Directory& from, Directory* out, Fault* fault);
// `config` is valid by now.
Status DecodeProbe(const fb::Directory& from, const ModelConfig& config, Probe* probe,
                   Fault* fault);

}  // namespace xst::formats
