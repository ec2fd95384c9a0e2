// The last rows that a stream stepped, to lead another model to where it stands.
#pragma once

#include <algorithm>
#include <cstddef>
#include <span>
#include <vector>

namespace xst::stream {

// One thread at a time; allocates at construction only.
class History {
 public:
  History(size_t capacity, size_t width)  // a capacity of 0 keeps nothing
      : capacity_(capacity), width_(width), rows_(capacity * width) {}

  size_t size() const { return size_; }
  size_t width() const { return width_; }
  // The oldest is row 0.
  std::span<const float> row(size_t i) const { return At((next_ + capacity_ - size_ + i)); }

  void Record(std::span<const float> row) noexcept {
    if (capacity_ == 0) return;
    std::copy_n(row.begin(), width_, rows_.begin() + static_cast<ptrdiff_t>(next_ * width_));
    next_ = (next_ + 1) % capacity_;
    size_ = std::min(size_ + 1, capacity_);
  }
  void Clear() noexcept { size_ = 0; }

 private:
  std::span<const float> At(size_t i) const {
    return std::span(rows_).subspan(i % capacity_ * width_, width_);
  }

  size_t capacity_, width_;
  std::vector<float> rows_;
  size_t next_ = 0, size_ = 0;
};

}  // namespace xst::stream
