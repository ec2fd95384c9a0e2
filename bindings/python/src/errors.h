// Errors of the library as Python exceptions (xlstm_stream/_errors.py), with the same texts.
#pragma once

#include <nanobind/nanobind.h>

#include <atomic>
#include <string>

#include "formats/status.h"

namespace xst::python {

namespace nb = nanobind;

// Lets nanobind turn xst::Error into the exception of its code.
void RegisterErrors();

// Throws Error{status, "what: …"} unless the call went through; `held` did.
void ThrowUnlessDone(Status status, const char* what);

// The flag of an object that one thread at a time may use. A second one is told so instead of
// waiting: it would step a stream whose order nobody knows.
class Turn {
 public:
  Turn(std::atomic<bool>* taken, const char* what) : taken_(taken) {
    if (taken_->exchange(true, std::memory_order_acquire)) {
      taken_ = nullptr;
      ThrowInUse(what);
    }
  }
  ~Turn() {
    if (taken_) taken_->store(false, std::memory_order_release);
  }
  Turn(const Turn&) = delete;
  Turn& operator=(const Turn&) = delete;

 private:
  [[noreturn]] static void ThrowInUse(const char* what);
  std::atomic<bool>* taken_;
};

[[noreturn]] void ThrowClosed(const char* what);

}  // namespace xst::python
