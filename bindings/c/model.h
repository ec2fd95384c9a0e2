// What the opaque types of models and sessions hold.
#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "bindings/c/xst.h"
#include "sdk/model.h"

struct xst_model {
  std::shared_ptr<const xst::Model> model;
};

namespace xst::c {

inline bool Overlap(const void* a, size_t a_bytes, const void* b, size_t b_bytes) {
  const auto x = reinterpret_cast<uintptr_t>(a), y = reinterpret_cast<uintptr_t>(b);
  return x < y + b_bytes && y < x + a_bytes;
}

// The first token out of range is the thread's last error.
xst_status CheckTokens(const ModelInfo& info, std::span<const int64_t> tokens) noexcept;

// Bytes of a caller's memory that hold a session of any alignment.
uint64_t SessionBytes(const ModelInfo& info);

}  // namespace xst::c
