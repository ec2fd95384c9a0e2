#include "sdk/moved.h"

#include <algorithm>
#include <limits>

namespace xst {

void Whereabouts::Seek(kernels::Slot slot) {
  const auto next = std::upper_bound(moved_.begin(), moved_.end(), slot,
                                     [](kernels::Slot s, const Moved& m) { return s < m.end; });
  begin_ = next == moved_.begin() ? 0 : std::prev(next)->end;
  end_ = next == moved_.end() ? std::numeric_limits<kernels::Slot>::max() : next->begin;
  shift_ = 0;
  if (next != moved_.end() && slot >= next->begin) {
    begin_ = next->begin;
    end_ = next->end;
    shift_ = next->to - next->begin;
  }
}

}  // namespace xst
