// Status codes, the exception-free error record of the core, and the exception of the C++ layer.
#pragma once

#include <cstdarg>
#include <cstdint>
#include <new>
#include <stdexcept>
#include <string>

namespace xst {

// Bands: 0 success; 1–99 success with a remark; 100–199 the caller's arguments; 200–299 bytes from
// outside; 300–399 this machine.
enum class Status : int32_t {
  ok = 0,
  held = 1,  // a non-finite input value was replaced (bare model: by the last finite one)

  invalid_argument = 100,  // a value outside its documented range
  shape_mismatch = 101,    // a width, length or count other than the model's

  not_found = 200,            // no such file
  io_error = 201,             // reading or writing failed
  truncated = 202,            // fewer (or more) bytes than the format says
  corrupt = 203,              // a checksum, magic or structure is wrong
  unsupported_version = 204,  // written by a newer format version
  invalid_config = 205,       // a configuration value is unknown, mistyped or impossible
  tensor_mismatch = 206,      // a tensor is missing, unused, mis-shaped or not finite
  other_model = 207,          // a snapshot of another architecture or other weights

  out_of_memory = 300,
  no_device = 301,           // the device is not there, or this build has no support for it
  no_instruction_set = 302,  // the CPU or this build lacks it
  device_failed = 303,       // the device disappeared or reported an error; its streams are lost
};

// One sentence on what a status means; static storage.
const char* Describe(Status status);

// f(), or out_of_memory where it finds none. In a build without exceptions memory that is short
// does not come back to f.
template <class F>
Status CatchBadAlloc(F&& f) {
#ifdef __cpp_exceptions
  try {
    return f();
  } catch (const std::bad_alloc&) {
    return Status::out_of_memory;
  }
#else
  return f();
#endif
}

#ifdef XST_MINIMAL
inline constexpr size_t kFaultText = 256;
#else
inline constexpr size_t kFaultText = 1024;
#endif

// What went wrong, in caller memory, without allocation: the core fills it, the C++ layer throws
// it.
struct Fault {
  Status status = Status::ok;
  char message[kFaultText] = "";  // "WHAT: expected …, got …"

  // Records and returns `s`; a longer text is cut.
  Status Set(Status s, const char* format, ...) __attribute__((format(printf, 3, 4)));
};

// Thrown while opening, packing or reading; never by a step.
class Error : public std::runtime_error {
 public:
  Error(Status code, const std::string& message) : std::runtime_error(message), code_(code) {}
  explicit Error(const Fault& fault) : Error(fault.status, fault.message) {}
  Status code() const { return code_; }

 private:
  Status code_;
};

}  // namespace xst
