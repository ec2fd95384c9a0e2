// Takes the ops of a Plan in order, to find blocks in them.
#pragma once

#include <cstddef>
#include <optional>
#include <span>

#include "kernels/ops.h"

namespace xst::kernels::cuda {

class OpReader {
 public:
  explicit OpReader(std::span<const Op> ops) : ops_(ops) {}

  template <class T>
  const T* Peek() const {
    return at_ < ops_.size() ? std::get_if<T>(&ops_[at_]) : nullptr;
  }
  // The next op if it is a T, else false and nothing is taken.
  template <class T>
  bool Take(T* out) {
    const T* op = Peek<T>();
    if (!op) return false;
    *out = *op;
    ++at_;
    return true;
  }
  // The next op if it is a T; true either way.
  template <class T>
  bool Take(std::optional<T>* out) {
    T op;
    if (Take(&op)) *out = op;
    return true;
  }

  bool done() const { return at_ == ops_.size(); }
  size_t left() const { return ops_.size() - at_; }
  uint32_t position() const { return static_cast<uint32_t>(at_); }

 private:
  std::span<const Op> ops_;
  size_t at_ = 0;
};

}  // namespace xst::kernels::cuda
