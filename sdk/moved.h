// State that lies elsewhere in a frame than where the Plan has it.
#pragma once

#include <cstdint>
#include <span>

#include "kernels/ops.h"

namespace xst {

// Elements [begin, end) of a Plan's state that are at `to` instead.
struct Moved {
  kernels::Slot begin, end, to;
};

// Where elements of the state are.
class Whereabouts {
 public:
  explicit Whereabouts(std::span<const Moved> moved) : moved_(moved) {}
  // Quick for elements one after the other.
  kernels::Slot Find(kernels::Slot slot) {
    if (slot < begin_ || slot >= end_) Seek(slot);
    return slot + shift_;
  }

 private:
  void Seek(kernels::Slot slot);
  std::span<const Moved> moved_;
  kernels::Slot begin_ = 0, end_ = 0, shift_ = 0;  // of the last piece, moved or not
};

}  // namespace xst
