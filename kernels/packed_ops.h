// Ops one behind the other, each in no more memory than its own kind takes: a list that is only
// run.
#pragma once

#include <cstdint>
#include <cstring>
#include <type_traits>
#include <vector>

#include "kernels/kernels.h"

namespace xst::kernels {

// What an op lies behind in PackedOps.
struct PackedOp {
  uint32_t kind;   // index in Op
  uint32_t words;  // from here to the next
};

// f(the op itself), as for an Op.
template <class F>
void Visit(const F& f, const PackedOp& op) {
  const auto visit = [&]<size_t... i>(std::index_sequence<i...>) {
    ((op.kind == i &&
      (f(*reinterpret_cast<const std::variant_alternative_t<i, Op>*>(&op + 1)), true)) ||
     ...);
  };
  visit(std::make_index_sequence<std::variant_size_v<Op>>());
}

template <class T>
void Run(const Kernels<T>& kernels, const PackedOp& op, T* frame) {
  Visit([&](const auto& o) { kernels(o, frame, {0, Units(o)}); }, op);
}

class PackedOps {
 public:
  class Iterator {
   public:
    explicit Iterator(const uint64_t* at) : at_(at) {}
    const PackedOp& operator*() const { return *reinterpret_cast<const PackedOp*>(at_); }
    Iterator& operator++() {
      at_ += (**this).words;
      return *this;
    }
    bool operator!=(const Iterator& other) const { return at_ != other.at_; }

   private:
    const uint64_t* at_;
  };

  template <class T>
  void push_back(const T& op) {
    static_assert(std::is_trivially_copyable_v<T> && alignof(T) <= alignof(uint64_t));
    constexpr uint32_t kWords = 1 + (sizeof(T) + 7) / 8;
    const PackedOp head = {static_cast<uint32_t>(Op(op).index()), kWords};
    const size_t at = words_.size();
    words_.resize(at + kWords);
    std::memcpy(&words_[at], &head, sizeof head);
    std::memcpy(&words_[at + 1], &op, sizeof op);
  }
  Iterator begin() const { return Iterator(words_.data()); }
  Iterator end() const { return Iterator(words_.data() + words_.size()); }

 private:
  std::vector<uint64_t> words_;
};

}  // namespace xst::kernels
