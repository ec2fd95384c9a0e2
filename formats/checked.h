// The one place where sizes from outside are added and multiplied.
#pragma once

#include <cstdint>

namespace xst::formats {

// A size that remembers overflow: once invalid, always invalid.
class Checked {
 public:
  constexpr Checked(uint64_t value) : value_(value) {}  // NOLINT: sizes convert implicitly

  constexpr bool valid() const { return valid_; }
  // The value; 0 when invalid, so test valid() (or use Equals, FitsIn) first.
  constexpr uint64_t value() const { return valid_ ? value_ : 0; }
  constexpr bool Equals(uint64_t other) const { return valid_ && value_ == other; }
  constexpr bool FitsIn(uint64_t limit) const { return valid_ && value_ <= limit; }

  constexpr Checked operator+(Checked o) const {
    Checked r(0);
    r.valid_ = !__builtin_add_overflow(value_, o.value_, &r.value_) && valid_ && o.valid_;
    return r;
  }
  constexpr Checked operator*(Checked o) const {
    Checked r(0);
    r.valid_ = !__builtin_mul_overflow(value_, o.value_, &r.value_) && valid_ && o.valid_;
    return r;
  }
  // Rounds up to a multiple of a power of two.
  constexpr Checked AlignUp(uint64_t power_of_two) const {
    Checked r = *this + Checked(power_of_two - 1);
    r.value_ &= ~(power_of_two - 1);
    return r;
  }

 private:
  uint64_t value_;
  bool valid_ = true;
};

}  // namespace xst::formats
