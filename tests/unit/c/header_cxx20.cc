// The header is C++20 on its own.
#include "xst.h"

namespace {
[[maybe_unused]] xst_status Open(const char* path, xst_model** model) {
  xst_model_options options = {};
  options.struct_bytes = sizeof options;
  options.device = "cpu";
  return xst_model_open(path, &options, model);
}
}  // namespace
