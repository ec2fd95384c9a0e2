// Saving and loading, alike for every kind of stream.
#pragma once

#include <cstddef>
#include <span>

#include "bindings/c/last_error.h"
#include "sdk/session.h"

namespace xst::c {

// save(bytes) -> Status into a buffer that must hold `expected` bytes; `what` names the stream.
template <class F>
xst_status Save(uint64_t expected, void* snapshot, size_t bytes, const char* what, F&& save) {
  if (bytes != expected) {
    return FailQuietly(Status::shape_mismatch, "bytes for a snapshot", expected, bytes);
  }
  return Done(save(std::span(static_cast<std::byte*>(snapshot), bytes)), what);
}

// load(bytes, options, &fault) -> Status.
template <class F>
xst_status Load(const void* snapshot, size_t bytes, uint32_t flags, F&& load) {
  if (flags > XST_LOAD_OTHER_WEIGHTS) {
    return FailQuietly(Status::invalid_argument, "flags", XST_LOAD_OTHER_WEIGHTS, flags);
  }
  const LoadOptions options = {.allow_other_weights = flags == XST_LOAD_OTHER_WEIGHTS};
  Fault fault;
  const Status status =
      load(std::span(static_cast<const std::byte*>(snapshot), bytes), options, &fault);
  return status == Status::ok ? xst_status{XST_OK} : Fail(fault);
}

}  // namespace xst::c
