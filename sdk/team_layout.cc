#include "sdk/team_layout.h"

#include <algorithm>
#include <limits>
#include <numeric>

namespace xst {
namespace {

using kernels::Op;
using kernels::Slot;
using kernels::Touch;

// Members' arrays begin this many elements apart at least: a page, which no prefetcher crosses.
constexpr uint32_t kApart = 1024;

// State in parts of this many elements stays where it is: what lies at their ends does not matter,
// and its memory does.
constexpr uint32_t kLargePart = uint32_t{1} << 16;

constexpr Slot RoundUp(Slot n, Slot to) { return (n + to - 1) / to * to; }

}  // namespace

TeamLayout::TeamLayout(const Plan& plan, std::vector<Op>* ops,
                       const std::vector<std::vector<ArrayUse>>& uses, const Owners& owners,
                       uint32_t members)
    : plan_(plan),
      ops_(*ops),
      uses_(uses),
      owners_(owners),
      members_(members),
      frame_size_(plan.frame_size) {}

void TeamLayout::AddCopies(const std::vector<const ArrayUse*>& uses) {
  for (const ArrayUse* use : uses) copy_of_[use->slot] = static_cast<uint32_t>(objects_.size());
  objects_.push_back({uses, true, false});
}

bool TeamLayout::IsCopy(const Slot* slot) const { return copy_of_.contains(slot); }

Slot TeamLayout::Shift(const Slot* slot, uint32_t member) const {
  const auto found = shifts_.find(slot);
  return found == shifts_.end() ? 0 : found->second[member];
}

// Each array of the state with whatever uses it.
void TeamLayout::AddState() {
  std::vector<Object> arrays(plan_.state.size());
  bool all_apart = true;  // as every Plan is made
  for (const auto& uses : uses_) {
    for (const ArrayUse& use : uses) {
      if (use.begin >= plan_.state_size) continue;
      for (size_t i = 0; i < arrays.size(); ++i) {
        const StateArray& a = plan_.state[i];
        const Slot end = a.slot + kernels::RoundUp16(a.rows * a.stride);
        if (use.begin >= end || a.slot >= use.end) continue;
        arrays[i].uses.push_back(&use);
        arrays[i].state = true;
        if (use.begin < a.slot || use.end > end) all_apart = false;
      }
    }
  }
  for (Object& array : arrays) {
    if (!array.uses.empty() && all_apart) objects_.push_back(std::move(array));
  }
}

// Activations share memory one after the other: a use goes with those that wrote what it reads.
void TeamLayout::AddActivations() {
  constexpr uint32_t kInput = 0;  // what is there before the first op, and what the step gives
  std::vector<const ArrayUse*> uses = {nullptr};
  std::vector<uint32_t> parent = {kInput};
  const auto root = [&](uint32_t i) {
    while (parent[i] != i) i = parent[i] = parent[parent[i]];
    return i;
  };
  const auto join = [&](uint32_t a, uint32_t b) {
    a = root(a), b = root(b);
    parent[std::max(a, b)] = std::min(a, b);
  };
  const Slot first = plan_.state_size;
  std::vector<uint32_t> writer(plan_.frame_size - first, kInput);
  for (const auto& of_op : uses_) {
    const auto known = static_cast<uint32_t>(uses.size());
    for (const ArrayUse& use : of_op) {
      if (use.begin < first || IsCopy(use.slot)) continue;
      const auto index = static_cast<uint32_t>(uses.size());
      uses.push_back(&use);
      parent.push_back(index);
      if (!use.reads) continue;
      for (Slot s = use.begin; s < use.end; ++s) {
        if (s == use.begin || writer[s - first] != writer[s - 1 - first]) {
          join(index, writer[s - first]);
        }
      }
    }
    for (uint32_t i = known; i < uses.size(); ++i) {
      if (!uses[i]->writes) continue;
      std::fill(writer.begin() + (uses[i]->begin - first), writer.begin() + (uses[i]->end - first),
                i);
    }
  }
  for (Slot s = plan_.output; s < plan_.output + plan_.output_width; ++s) {
    join(kInput, writer[s - first]);
  }
  std::unordered_map<uint32_t, size_t> webs;
  for (uint32_t i = 1; i < uses.size(); ++i) {
    if (root(i) == kInput) continue;
    const auto [web, fresh] = webs.try_emplace(root(i), objects_.size());
    if (fresh) objects_.emplace_back();
    objects_[web->second].uses.push_back(uses[i]);
  }
}

std::vector<TeamLayout::Owned> TeamLayout::OwnedBy(const Object& object) const {
  std::vector<Owned> owned;
  for (const ArrayUse* use : object.uses) {
    if (owners_[use->op].empty()) return {};  // every member's
    Op& op = ops_[use->op];
    for (uint32_t u = 0; u < Units(op); ++u) {
      VisitTouches(op, u, [&](Slot& slot, uint32_t begin, uint32_t end, Touch) {
        if (&slot == use->slot) owned.push_back({slot + begin, slot + end, owners_[use->op][u]});
      });
    }
  }
  std::sort(owned.begin(), owned.end(),
            [](const Owned& a, const Owned& b) { return a.begin < b.begin; });
  size_t last = 0;
  for (size_t i = 1; i < owned.size(); ++i) {
    if (owned[i].member == owned[last].member && owned[i].begin <= owned[last].end) {
      owned[last].end = std::max(owned[last].end, owned[i].end);
    } else if (owned[i].begin < owned[last].end) {
      return {};
    } else {
      owned[++last] = owned[i];
    }
  }
  owned.resize(last + 1);
  return owned;
}

void TeamLayout::Place() {
  AddState();
  AddActivations();
  struct Span {
    Slot begin = std::numeric_limits<Slot>::max(), end = 0;
  };
  struct Place {
    Slot slot;
    uint32_t size, free_after;
  };
  std::vector<std::vector<Span>> spans(objects_.size(), std::vector<Span>(members_));
  std::vector<std::vector<Owned>> owned(objects_.size());
  for (size_t i = 0; i < objects_.size(); ++i) {
    Object& object = objects_[i];
    if (object.copies) {
      for (Span& span : spans[i]) span = {object.uses[0]->begin, object.uses[0]->end};
    } else {
      owned[i] = OwnedBy(object);
      const bool large = std::all_of(owned[i].begin(), owned[i].end(),
                                     [](const Owned& o) { return o.end - o.begin >= kLargePart; });
      if (large) continue;  // or in nobody's hands alone
      for (const Owned& o : owned[i]) {
        Span& span = spans[i][o.member];
        span = {std::min(span.begin, o.begin), std::max(span.end, o.end)};
      }
    }
    for (const ArrayUse* use : object.uses) shifts_[use->slot].resize(members_);
  }
  for (uint32_t m = 0; m < members_; ++m) {
    frame_size_ = RoundUp(frame_size_, kApart);
    std::vector<Place> places;
    for (size_t i = 0; i < objects_.size(); ++i) {
      const Object& object = objects_[i];
      if (spans[i][m].end == 0) continue;
      // As far from a cache line's beginning as in the Plan.
      const Slot begin = spans[i][m].begin / kernels::kUnit * kernels::kUnit;
      const uint32_t size = kernels::RoundUp16(spans[i][m].end - begin);
      const auto [first, last] =
          std::minmax_element(object.uses.begin(), object.uses.end(),
                              [](const ArrayUse* a, const ArrayUse* b) { return a->op < b->op; });
      auto place = std::find_if(places.begin(), places.end(), [&, from = (*first)->op](auto& p) {
        return !object.state && p.size >= size && p.free_after < from;
      });
      if (place == places.end()) {
        place = places.insert(place, {frame_size_, size, 0});
        frame_size_ += size;
      }
      place->free_after = object.state ? std::numeric_limits<uint32_t>::max() : (*last)->op;
      for (const ArrayUse* use : object.uses) shifts_[use->slot][m] = place->slot - begin;
      if (!object.state) continue;
      for (const Owned& o : owned[i]) {
        if (o.member == m) moved_.push_back({o.begin, o.end, o.begin + (place->slot - begin)});
      }
    }
  }
  frame_size_ += kernels::kUnit;  // for vector loads
  std::sort(moved_.begin(), moved_.end(),
            [](const Moved& a, const Moved& b) { return a.begin < b.begin; });
}

}  // namespace xst
