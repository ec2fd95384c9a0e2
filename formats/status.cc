#include "formats/status.h"

#include <cstdio>

namespace xst {

const char* Describe(Status status) {
  switch (status) {
    case Status::ok:
      return "success";
    case Status::held:
      return "a missing or non-finite input value was replaced";
    case Status::invalid_argument:
      return "an argument is outside its documented range";
    case Status::shape_mismatch:
      return "a width, length or count differs from the model's";
    case Status::not_found:
      return "there is no such file";
    case Status::io_error:
      return "reading or writing failed";
    case Status::truncated:
      return "there are fewer or more bytes than the format says";
    case Status::corrupt:
      return "a checksum, a magic number or the structure is wrong";
    case Status::unsupported_version:
      return "this version does not support the format or the model family";
    case Status::invalid_config:
      return "a configuration value is unknown, mistyped or impossible";
    case Status::tensor_mismatch:
      return "a tensor is missing, unused, mis-shaped or not finite";
    case Status::other_model:
      return "the snapshot belongs to another architecture or other weights";
    case Status::out_of_memory:
      return "there is not enough memory";
    case Status::no_device:
      return "the device is absent, or this build does not support it";
    case Status::no_instruction_set:
      return "the CPU or this build lacks the instruction set";
    case Status::device_failed:
      return "the device disappeared or reported an error";
  }
  return "an unknown status";
}

Status Fault::Set(Status s, const char* format, ...) {
  status = s;
  va_list args;
  va_start(args, format);
  std::vsnprintf(message, sizeof message, format, args);
  va_end(args);
  return s;
}

}  // namespace xst
