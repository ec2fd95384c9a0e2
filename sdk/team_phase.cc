#include "sdk/team_phase.h"

#include <algorithm>
#include <map>
#include <numeric>

namespace xst {
namespace {

// f(extent) for those of `sorted` that conflict with e.
template <class F>
void ForConflicts(const std::vector<Extent>& sorted, const std::vector<kernels::Slot>& furthest,
                  const Extent& e, const F& f) {
  const auto behind = std::lower_bound(sorted.begin(), sorted.end(), e.end,
                                       [](const Extent& a, uint32_t end) { return a.begin < end; });
  for (auto i = static_cast<size_t>(behind - sorted.begin()); i-- > 0 && furthest[i] > e.begin;) {
    if (Conflict(sorted[i], e)) f(sorted[i]);
  }
}

}  // namespace

uint32_t Phase::Root(uint32_t node) const {
  while (parent_[node] != node) node = parent_[node] = parent_[parent_[node]];
  return node;
}

// The lower root stays, so that a component's root is its first unit.
void Phase::Join(uint32_t a, uint32_t b) {
  a = Root(a);
  b = Root(b);
  parent_[std::max(a, b)] = std::min(a, b);
}

void Phase::Add(uint32_t op, uint32_t units, uint64_t cost, const std::vector<Extent>& extents) {
  Part part{op, static_cast<uint32_t>(parent_.size()), units, cost, extents, {}};
  parent_.resize(parent_.size() + units);
  std::iota(parent_.begin() + part.first_node, parent_.end(), part.first_node);
  for (Extent& e : part.extents) {
    e.first += part.first_node;
    e.last += part.first_node;
    for (const Part& before : parts_) {
      ForConflicts(before.extents, before.furthest, e, [&](const Extent& other) {
        for (uint32_t n = other.first; n <= other.last; ++n) Join(n, e.first);
        for (uint32_t n = e.first; n <= e.last; ++n) Join(n, other.first);
      });
    }
  }
  std::sort(part.extents.begin(), part.extents.end(),
            [](const Extent& a, const Extent& b) { return a.begin < b.begin; });
  kernels::Slot furthest = 0;
  for (const Extent& e : part.extents) {
    part.furthest.push_back(furthest = std::max(furthest, e.end));
  }
  parts_.push_back(std::move(part));
}

bool Phase::Touches(const std::vector<Extent>& extents) const {
  bool touches = false;
  for (const Extent& e : extents) {
    for (const Part& part : parts_) {
      ForConflicts(part.extents, part.furthest, e, [&](const Extent&) { touches = true; });
    }
  }
  return touches;
}

uint64_t Phase::Share(std::vector<std::vector<uint16_t>>* owners) const {
  // Components by their roots, with the ops they have units of.
  struct Component {
    uint64_t cost = 0;
    std::vector<uint32_t> ops;
    uint16_t owner = 0;
  };
  std::map<uint32_t, Component> components;
  for (const Part& part : parts_) {
    for (uint32_t n = part.first_node; n < part.first_node + part.units; ++n) {
      Component& c = components[Root(n)];
      c.cost += part.cost;
      if (c.ops.empty() || c.ops.back() != part.op) c.ops.push_back(part.op);
    }
  }
  // Components alike are shared out evenly and in order: neighbouring channels stay together, and
  // the next phase finds them where it will need them. What is left over goes to the idlest.
  std::map<std::vector<uint32_t>, std::vector<Component*>> kinds;
  for (auto& [root, c] : components) kinds[c.ops].push_back(&c);
  std::vector<uint64_t> loads(members_);
  for (auto& [ops, alike] : kinds) {
    std::vector<size_t> counts(members_, alike.size() / members_);
    std::vector<uint32_t> idle(members_);
    std::iota(idle.begin(), idle.end(), 0);
    std::stable_sort(idle.begin(), idle.end(),
                     [&](uint32_t a, uint32_t b) { return loads[a] < loads[b]; });
    for (size_t i = 0; i < alike.size() % members_; ++i) ++counts[idle[i]];
    size_t next = 0;
    for (uint32_t m = 0; m < members_; ++m) {
      for (size_t i = 0; i < counts[m]; ++i, ++next) {
        alike[next]->owner = static_cast<uint16_t>(m);
        loads[m] += alike[next]->cost;
      }
    }
  }
  if (owners) {
    for (const Part& part : parts_) {
      (*owners)[part.op].resize(part.units);
      for (uint32_t u = 0; u < part.units; ++u) {
        (*owners)[part.op][u] = components[Root(part.first_node + u)].owner;
      }
    }
  }
  return for_all_ + *std::max_element(loads.begin(), loads.end());
}

}  // namespace xst
