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
  // cpu:N, at most 64: the step of a Session is split over so many threads, the calling one and
  // workers that start with the model, each on a CPU of its own as far as the process has some
  // (the one that opens the model keeps its own). Sessions of a model share them. It pays where a
  // step moves more than a core's L2 holds.
  uint32_t threads = 1;

  // "cpu", "cpu:N", "cuda:K", "reference". Invalid text: Status::invalid_argument.
  static Status Parse(const std::string& text, Device* out, Fault* fault);
  std::string ToString() const;
  bool operator==(const Device&) const = default;
};

}  // namespace xst
