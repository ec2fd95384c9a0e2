// What the opaque types of models and sessions hold.
#pragma once

#include <memory>

#include "bindings/c/xst.h"
#include "sdk/model.h"

struct xst_model {
  std::shared_ptr<const xst::Model> model;
};

namespace xst::c {

// Bytes of a caller's memory that hold a session of any alignment.
uint64_t SessionBytes(const ModelInfo& info);

}  // namespace xst::c
