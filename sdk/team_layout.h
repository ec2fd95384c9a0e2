// Where the arrays of a split step lie. What one member alone touches gets a place among that
// member's own, far from the others': a core then neither waits for a cache line that another one
// has written beside it, nor has its lines fetched away by another's prefetcher.
#pragma once

#include <cstdint>
#include <unordered_map>
#include <vector>

#include "kernels/touches.h"
#include "sdk/moved.h"
#include "sdk/plan.h"

namespace xst {

using kernels::ArrayUse;

// Who runs what: [op][unit], or for an op that every member runs [op] empty.
using Owners = std::vector<std::vector<uint16_t>>;

class TeamLayout {
 public:
  TeamLayout(const Plan& plan, std::vector<kernels::Op>* ops,
             const std::vector<std::vector<ArrayUse>>& uses, const Owners& owners,
             uint32_t members);

  // An array that every member makes for itself: the uses that make and read it.
  void AddCopies(const std::vector<const ArrayUse*>& uses);
  // All others, then the places.
  void Place();

  // What a member adds to a use's slot.
  kernels::Slot Shift(const kernels::Slot* slot, uint32_t member) const;
  uint32_t frame_size() const { return frame_size_; }
  const std::vector<Moved>& moved() const { return moved_; }  // sorted

 private:
  struct Object {
    std::vector<const ArrayUse*> uses;
    bool copies = false, state = false;
  };
  struct Owned {
    kernels::Slot begin, end;
    uint32_t member;
  };
  void AddState();
  void AddActivations();
  // The intervals of an object, sorted, each in one member's hands; empty if two touch the same.
  std::vector<Owned> OwnedBy(const Object& object) const;
  bool IsCopy(const kernels::Slot* slot) const;

  const Plan& plan_;
  std::vector<kernels::Op>& ops_;
  const std::vector<std::vector<ArrayUse>>& uses_;  // [op]
  const Owners& owners_;
  const uint32_t members_;
  std::vector<Object> objects_;
  std::unordered_map<const kernels::Slot*, uint32_t> copy_of_;  // use to object
  std::unordered_map<const kernels::Slot*, std::vector<kernels::Slot>> shifts_;
  std::vector<Moved> moved_;
  uint32_t frame_size_;
};

}  // namespace xst
