// A phase of a team's step: ops whose units are shared out so that no member needs what another one
// makes in the same phase.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/touches.h"

namespace xst {

// An interval of the frame and the units [first, last] of one op that touch it in the same way.
struct Extent {
  kernels::Slot begin, end;
  kernels::Touch touch;
  uint32_t first, last;
};

inline bool Conflict(const Extent& a, const Extent& b) {
  const bool reads = a.touch == kernels::Touch::read && b.touch == kernels::Touch::read;
  return !reads && a.begin < b.end && b.begin < a.end;
}

class Phase {
 public:
  explicit Phase(uint32_t members) : members_(members) {}

  // Adds op `op` with `units` units of `cost` each, that touch `extents`. Units that touch the same
  // elements, unless all read them, come to the same member.
  void Add(uint32_t op, uint32_t units, uint64_t cost, const std::vector<Extent>& extents);
  // An op that every member runs for itself.
  void AddForAll(uint64_t cost) { for_all_ += cost; }
  // Whether units that are shared out touch what `extents` do.
  bool Touches(const std::vector<Extent>& extents) const;

  // The busiest member's cost. With `owners` [op][unit], fills in the member of every unit.
  uint64_t Share(std::vector<std::vector<uint16_t>>* owners = nullptr) const;

 private:
  struct Part {  // an op
    uint32_t op, first_node, units;
    uint64_t cost;
    std::vector<Extent> extents;          // sorted by `begin`; units as nodes
    std::vector<kernels::Slot> furthest;  // largest `end` of the extents up to each
  };
  uint32_t Root(uint32_t node) const;
  void Join(uint32_t a, uint32_t b);

  uint32_t members_;
  uint64_t for_all_ = 0;
  std::vector<Part> parts_;
  mutable std::vector<uint32_t> parent_;  // of a node, which is a unit
};

}  // namespace xst
