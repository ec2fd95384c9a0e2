// What a thread's last failed call had to say, and the log.
#pragma once

#include <cstddef>
#include <cstdint>
#include <new>

#include "bindings/c/xst.h"
#include "formats/status.h"

namespace xst::c {

inline xst_status ToC(Status status) { return static_cast<xst_status>(status); }

// Records and logs `message` as the calling thread's last error.
xst_status Fail(Status status, const char* message) noexcept;
inline xst_status Fail(const Fault& fault) noexcept { return Fail(fault.status, fault.message); }

// The same where nothing may be allocated or logged: `what` is static, and the text is made when it
// is asked for.
xst_status FailQuietly(Status status, const char* what) noexcept;
xst_status FailQuietly(Status status, const char* what, uint64_t expected, uint64_t got) noexcept;
// "WHAT: expected RELATION EXPECTED, got GOT", as in "at least 1"; "WHAT, got GOT" without one.
xst_status FailQuietly(Status status, const char* what, const char* relation, uint64_t expected,
                       int64_t got) noexcept;

// What a call of the sdk that has no words of its own came to.
inline xst_status Done(Status status, const char* what) noexcept {
  return status == Status::ok || status == Status::held ? ToC(status) : FailQuietly(status, what);
}

// An object or a buffer that a call needs is null.
inline xst_status FailNull(const char* call) noexcept {
  return FailQuietly(Status::invalid_argument, call);
}

void LogInfo(const char* message) noexcept;

// f() -> xst_status; what it throws becomes a status. `what` is said where memory is short.
template <class F>
xst_status Guarded(const char* what, F&& f) noexcept {
  try {
    return f();
  } catch (const Error& e) {
    return Fail(e.code(), e.what());
  } catch (const std::bad_alloc&) {
    return Fail(Status::out_of_memory, what);
  } catch (...) {
    return Fail(Status::invalid_argument, what);
  }
}

}  // namespace xst::c
