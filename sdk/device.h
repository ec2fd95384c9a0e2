// Where a model is computed.
#pragma once

#include <cstdint>
#include <string>

#include "formats/status.h"

namespace xst {

struct Device {
  enum class Kind : uint8_t { cpu, cuda, reference };
  Kind kind = Kind::cpu;
  uint32_t index = 0;    // cuda:K
  uint32_t threads = 1;  // cpu:N

  // "cpu", "cpu:N", "cuda:K", "reference". Invalid text: Status::invalid_argument.
  static Status Parse(const std::string& text, Device* out, Fault* fault);
  std::string ToString() const;
};

}  // namespace xst
