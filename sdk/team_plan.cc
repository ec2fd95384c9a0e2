#include "sdk/team_plan.h"

#include <algorithm>
#include <iterator>
#include <limits>
#include <map>
#include <set>

#include "kernels/touches.h"
#include "sdk/team_phase.h"

namespace xst {
namespace {

using kernels::Op;
using kernels::Slot;
using kernels::Touch;

// What a wait costs, in the bytes of UnitCost: about a tenth of a microsecond.
constexpr uint64_t kWaitCost = 6000;

constexpr uint32_t kNever = std::numeric_limits<uint32_t>::max();

// An array that an op touches, as a whole.
struct Array {
  Slot* slot;  // in the op
  Slot begin, end;
  bool reads, writes;
};

std::vector<Array> ArraysOf(Op& op) {
  std::vector<Array> arrays;
  for (uint32_t u = 0; u < Units(op); ++u) {
    VisitTouches(op, u, [&](Slot& slot, uint32_t begin, uint32_t end, Touch touch) {
      auto a = std::find_if(arrays.begin(), arrays.end(),
                            [&](const Array& known) { return known.slot == &slot; });
      if (a == arrays.end()) a = arrays.insert(a, {&slot, slot + begin, slot + end, false, false});
      a->begin = std::min(a->begin, slot + begin);
      a->end = std::max(a->end, slot + end);
      a->reads |= touch != Touch::write;
      a->writes |= touch != Touch::read;
    });
  }
  return arrays;
}

// What an op of one unit makes, where each member may have its own.
struct Copied {
  uint32_t op;
  Slot* slot;
  uint32_t size;
  std::vector<std::pair<uint32_t, Slot*>> readers;  // op, its array
  bool read_later;                                  // after the last op, by who ran the step
  Slot own = 0;                                     // of member 1, relative to its arrays
};

class Builder {
 public:
  Builder(const Plan& plan, uint32_t members)
      : plan_(plan),
        members_(members),
        ops_(plan.ops),
        owners_(ops_.size()),
        copied_of_(ops_.size()) {
    for (Op& op : ops_) arrays_.push_back(ArraysOf(op));
  }

  TeamPlan Build() {
    for (uint32_t i = 0; i < ops_.size(); ++i) FindCopied(i);
    Assign();
    PlaceCopies();
    TeamPlan team;
    team.members.resize(members_);
    team.frame_size = kernels::RoundUp16(plan_.frame_size) + (members_ - 1) * own_size_;
    std::vector<std::vector<std::vector<Extent>>> touched(ops_.size());
    for (uint32_t i = 0; i < ops_.size(); ++i) {
      touched[i].resize(members_);
      for (uint32_t m = 0; m < members_; ++m) AddSteps(i, m, &team.members[m], &touched[i][m]);
    }
    AddWaits(touched, &team);
    return team;
  }

 private:
  // Whether op i may be run by every member into an array of its own: it only writes it, and
  // whatever reads a part of it before the rest is overwritten reads nothing else with it.
  void FindCopied(uint32_t i) {
    if (Units(ops_[i]) != 1) return;
    const Array* made = nullptr;
    for (const Array& a : arrays_[i]) {
      if (!a.writes) continue;
      if (made || a.reads || a.begin < plan_.state_size) return;
      made = &a;
    }
    for (const Array& a : arrays_[i]) {
      if (&a != made && a.begin < made->end && made->begin < a.end) return;
    }
    Copied c{i, made->slot, made->end - made->begin, {}, true};
    std::vector<bool> alive(c.size, true);
    size_t count = c.size;
    for (uint32_t j = i + 1; j < ops_.size() && count > 0; ++j) {
      for (const Array& a : arrays_[j]) {
        const Slot begin = std::max(a.begin, made->begin), end = std::min(a.end, made->end);
        if (!a.reads || begin >= end) continue;
        const auto from = alive.begin() + (begin - made->begin);
        const auto living = std::count(from, from + (end - begin), true);
        if (living == 0) continue;
        if (a.writes || living != a.end - a.begin) return;
        c.readers.emplace_back(j, a.slot);
      }
      for (const Array& a : arrays_[j]) {
        if (!a.writes) continue;
        for (Slot s = std::max(a.begin, made->begin); s < std::min(a.end, made->end); ++s) {
          count -= alive[s - made->begin];
          alive[s - made->begin] = false;
        }
      }
    }
    c.read_later = count > 0;
    copied_of_[i] = static_cast<uint32_t>(copied_.size()) + 1;
    copied_.push_back(std::move(c));
  }

  bool ReadsCopy(uint32_t op, const Slot* slot) const {
    return std::any_of(copied_.begin(), copied_.end(), [&](const Copied& c) {
      return owners_[c.op].empty() && c.op < op &&
             std::find(c.readers.begin(), c.readers.end(),
                       std::pair(op, const_cast<Slot*>(slot))) != c.readers.end();
    });
  }

  // What the units of an op touch of arrays that all share.
  std::vector<Extent> Extents(uint32_t op) {
    std::vector<Extent> extents;
    std::vector<const Slot*> own;
    for (const Array& a : arrays_[op]) {
      if (ReadsCopy(op, a.slot)) own.push_back(a.slot);
    }
    std::map<const Slot*, size_t> last;  // extent of an array
    for (uint32_t u = 0; u < Units(ops_[op]); ++u) {
      VisitTouches(ops_[op], u, [&](Slot& slot, uint32_t begin, uint32_t end, Touch touch) {
        if (std::find(own.begin(), own.end(), &slot) != own.end()) return;
        const Extent e{slot + begin, slot + end, touch, u, u};
        if (const auto known = last.find(&slot); known != last.end()) {
          Extent& before = extents[known->second];  // what several units read comes once
          if (before.begin == e.begin && before.end == e.end && before.last + 1 == u) {
            before.last = u;
            return;
          }
        }
        last[&slot] = extents.size();
        extents.push_back(e);
      });
    }
    return extents;
  }

  // Shares out units, phase after phase: an op stays in the phase unless a wait before it is
  // cheaper than the members it would leave idle.
  void Assign() {
    Phase phase(members_);
    for (uint32_t i = 0; i < ops_.size(); ++i) {
      const uint32_t units = Units(ops_[i]);
      const uint64_t cost = UnitCost(ops_[i]);
      const std::vector<Extent> extents = Extents(i);
      Phase joined = phase, alone(members_);
      joined.Add(i, units, cost, extents);
      alone.Add(i, units, cost, extents);
      const uint64_t together = joined.Share(), before = phase.Share();
      if (copied_of_[i]) {
        std::vector<Extent> reads;
        for (const Extent& e : extents) {
          if (e.touch == Touch::read) reads.push_back(e);
        }
        const bool wait = phase.Touches(reads);
        if (before + cost + (wait ? kWaitCost : 0) <= together) {
          if (wait) {
            phase.Share(&owners_);
            phase = Phase(members_);
          }
          phase.AddForAll(cost);
          continue;
        }
      }
      if (together <= before + kWaitCost + alone.Share()) {
        phase = std::move(joined);
      } else {
        phase.Share(&owners_);
        phase = std::move(alone);
      }
      owners_[i].resize(units);
    }
    phase.Share(&owners_);
  }

  bool Runs(uint32_t op, uint32_t member) const {
    if (owners_[op].empty()) return needs_[op][member];
    return std::find(owners_[op].begin(), owners_[op].end(), member) != owners_[op].end();
  }

  // Gives copies a place in their members' own arrays, and to those members alone that read them.
  void PlaceCopies() {
    needs_.assign(ops_.size(), std::vector<bool>(members_));
    struct Place {
      Slot slot;
      uint32_t size, free_after;
    };
    for (auto c = copied_.rbegin(); c != copied_.rend(); ++c) {
      if (!owners_[c->op].empty()) continue;
      for (uint32_t m = 0; m < members_; ++m) {
        needs_[c->op][m] = m == 0 && c->read_later;
        for (const auto& [reader, slot] : c->readers) {
          if (Runs(reader, m)) needs_[c->op][m] = true;
        }
      }
    }
    std::vector<Place> places;
    for (Copied& c : copied_) {
      if (!owners_[c.op].empty()) continue;
      const uint32_t last = c.readers.empty() ? c.op : c.readers.back().first;
      auto place = std::find_if(places.begin(), places.end(), [&](const Place& p) {
        return p.size >= c.size && p.free_after < c.op;
      });
      if (place == places.end()) {
        place = places.insert(place, {own_size_, kernels::RoundUp16(c.size), 0});
        own_size_ += place->size;
      }
      place->free_after = last;
      c.own = place->slot;
    }
    // A cache line's distance between members' arrays, and what vector loads may touch behind them.
    if (own_size_ > 0) own_size_ = (own_size_ + 63) / 32 * 32;
  }

  // The steps of op i for member m, and what they touch.
  void AddSteps(uint32_t i, uint32_t m, std::vector<TeamStep>* steps,
                std::vector<Extent>* touched) {
    if (!Runs(i, m)) return;
    std::vector<std::pair<Slot*, Slot>> restore;
    if (m > 0) {
      const Slot own = kernels::RoundUp16(plan_.frame_size) + (m - 1) * own_size_;
      const auto replace = [&](Slot* slot, Slot from, const Copied& c) {
        restore.emplace_back(slot, *slot);
        *slot = own + c.own + (*slot - from);
      };
      for (const Copied& c : copied_) {
        if (!owners_[c.op].empty()) continue;
        const Slot from = *c.slot;
        if (c.op == i) replace(c.slot, from, c);
        for (const auto& [reader, slot] : c.readers) {
          if (reader == i) replace(slot, from, c);
        }
      }
    }
    const uint32_t units = Units(ops_[i]);
    const auto mine = [&](uint32_t u) { return owners_[i].empty() || owners_[i][u] == m; };
    for (uint32_t u = 0; u < units; ++u) {
      if (!mine(u)) continue;
      const uint32_t begin = u;
      while (u + 1 < units && mine(u + 1)) ++u;
      steps->push_back({0, i, {begin, u + 1}, ops_[i]});  // `wait` is the op's index for now
    }
    for (uint32_t u = 0; u < units; ++u) {
      if (!mine(u)) continue;
      VisitTouches(ops_[i], u, [&](Slot& slot, uint32_t begin, uint32_t end, Touch touch) {
        for (Extent& known : *touched) {
          if (known.touch == touch && known.begin <= slot + end && slot + begin <= known.end) {
            known.begin = std::min(known.begin, slot + begin);
            known.end = std::max(known.end, slot + end);
            return;
          }
        }
        touched->push_back({slot + begin, slot + end, touch, 0, 0});
      });
    }
    for (const auto& [slot, was] : restore) *slot = was;
  }

  // touched: [op][member].
  void AddWaits(const std::vector<std::vector<std::vector<Extent>>>& touched, TeamPlan* team) {
    const auto conflict = [&](uint32_t i, uint32_t j, uint32_t m) {
      for (uint32_t other = 0; other < members_; ++other) {
        if (other == m) continue;
        for (const Extent& a : touched[i][other]) {
          for (const Extent& b : touched[j][m]) {
            if (Conflict(a, b)) return true;
          }
        }
      }
      return false;
    };
    std::set<uint32_t> points;
    for (uint32_t m = 0; m < members_; ++m) {
      uint32_t reached = 0, done = kNever;
      for (TeamStep& s : team->members[m]) {
        const uint32_t op = s.wait;
        s.publish = op;
        s.wait = 0;
        if (op == done) continue;  // another range of the same op
        done = op;
        for (uint32_t i = op; i > reached; --i) {
          if (!conflict(i - 1, op, m)) continue;
          s.wait = reached = i;
          points.insert(i);
          break;
        }
      }
    }
    for (auto& member : team->members) {
      uint32_t said = 0;
      for (TeamStep& s : member) {
        const auto behind = points.upper_bound(s.publish);
        const uint32_t point = behind == points.begin() ? 0 : *std::prev(behind);
        s.publish = point > said ? point : 0;
        said = std::max(said, point);
      }
    }
  }

  const Plan& plan_;
  const uint32_t members_;
  std::vector<Op> ops_;
  std::vector<std::vector<Array>> arrays_;
  std::vector<std::vector<uint16_t>> owners_;  // [op][unit]; empty: every member runs it
  std::vector<uint32_t> copied_of_;            // 1 + index in copied_, 0: none
  std::vector<Copied> copied_;
  std::vector<std::vector<bool>> needs_;  // [op][member], of those
  uint32_t own_size_ = 0;                 // of a member's own arrays
};

}  // namespace

TeamPlan BuildTeamPlan(const Plan& plan, uint32_t members) {
  return Builder(plan, members).Build();
}

}  // namespace xst
