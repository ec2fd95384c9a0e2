/* The header is C11 on its own, and its structs are laid out as the ABI of SOVERSION 0 says. */
#include "xst.h"

#include <assert.h>

_Static_assert(sizeof(xst_status) == 4, "xst_status");
_Static_assert(sizeof(xst_model_options) == 64, "xst_model_options");
_Static_assert(offsetof(xst_model_options, struct_bytes) == 0, "struct_bytes");
_Static_assert(offsetof(xst_model_options, device) == 8, "device");
_Static_assert(offsetof(xst_model_options, isa) == 16, "isa");
_Static_assert(offsetof(xst_model_options, arithmetic) == 24, "arithmetic");
_Static_assert(offsetof(xst_model_options, resident) == 28, "resident");
_Static_assert(offsetof(xst_model_options, bf16_forward) == 32, "bf16_forward");
_Static_assert(offsetof(xst_model_options, check_full) == 36, "check_full");
_Static_assert(offsetof(xst_model_options, in_place) == 40, "in_place");
_Static_assert(offsetof(xst_model_options, arena) == 48, "arena");
_Static_assert(offsetof(xst_model_options, arena_bytes) == 56, "arena_bytes");

_Static_assert(sizeof(xst_model_info) == 168, "xst_model_info");
_Static_assert(offsetof(xst_model_info, tokens) == 8, "tokens");
_Static_assert(offsetof(xst_model_info, input_width) == 12, "input_width");
_Static_assert(offsetof(xst_model_info, output_width) == 16, "output_width");
_Static_assert(offsetof(xst_model_info, probe_steps) == 20, "probe_steps");
_Static_assert(offsetof(xst_model_info, rate_hz) == 24, "rate_hz");
_Static_assert(offsetof(xst_model_info, parameters) == 32, "parameters");
_Static_assert(offsetof(xst_model_info, session_bytes) == 64, "session_bytes");
_Static_assert(offsetof(xst_model_info, file_bytes) == 80, "file_bytes");
_Static_assert(offsetof(xst_model_info, family) == 88, "family");
_Static_assert(offsetof(xst_model_info, config_yaml) == 152, "config_yaml");
_Static_assert(offsetof(xst_model_info, arena_bytes) == 160, "arena_bytes");

_Static_assert(sizeof(xst_probe_result) == 56, "xst_probe_result");
_Static_assert(offsetof(xst_probe_result, error) == 16, "error");
_Static_assert(offsetof(xst_probe_result, bound) == 48, "bound");

/* Every constant is an integer constant expression. */
enum { kAll = XST_OK + XST_HELD + XST_DEVICE_FAILED + XST_LOG_ERROR + XST_QUALITY_RESET };

xst_status xst_header_c11(const xst_model* model);
xst_status xst_header_c11(const xst_model* model) {
  xst_model_info info = {.struct_bytes = sizeof info};
  static_assert(XST_FAILED(XST_INVALID_ARGUMENT), "a failure");
  static_assert(!XST_FAILED(XST_HELD), "a remark");
  return xst_model_get_info(model, &info);
}
