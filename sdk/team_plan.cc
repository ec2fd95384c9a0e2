#include "sdk/team_plan.h"

#include <algorithm>
#include <map>

#include "kernels/touches.h"
#include "sdk/team_layout.h"
#include "sdk/team_phase.h"
#include "sdk/team_schedule.h"

namespace xst {
namespace {

using kernels::Op;
using kernels::Slot;
using kernels::Touch;

// What a wait costs, in the bytes of UnitCost: about a tenth of a microsecond.
constexpr uint64_t kWaitCost = 6000;

// What an op of one unit makes, where each member may have its own.
struct Copied {
  const ArrayUse* made;
  std::vector<const ArrayUse*> readers;
};

class Builder {
 public:
  Builder(const Plan& plan, uint32_t members)
      : plan_(plan),
        members_(members),
        ops_(plan.ops),
        owners_(ops_.size()),
        copied_of_(ops_.size()) {
    for (uint32_t i = 0; i < ops_.size(); ++i) uses_.push_back(ArrayUses(i, &ops_[i]));
  }

  TeamPlan Build() {
    for (uint32_t i = 0; i < ops_.size(); ++i) FindCopied(i);
    Assign();
    FindNeeds();
    TeamLayout layout(plan_, &ops_, uses_, owners_, members_);
    for (const Copied& c : copied_) {
      if (!ForAll(c)) continue;
      std::vector<const ArrayUse*> uses = c.readers;
      uses.insert(uses.begin(), c.made);
      layout.AddCopies(uses);
    }
    layout.Place();

    TeamPlan team;
    team.frame_size = layout.frame_size();
    team.moved = layout.moved();
    std::vector<std::vector<Share>> shares(members_);
    for (uint32_t i = 0; i < ops_.size(); ++i) {
      for (uint32_t m = 0; m < members_; ++m) {
        const size_t known = shares[m].size();
        AddShares(layout, i, m, &shares[m]);
        for (size_t s = known; s < shares[m].size(); ++s) {
          team.in_order.push_back({0, 0, shares[m][s].units, shares[m][s].op});
        }
      }
    }
    team.members = Schedule(shares);
    return team;
  }

 private:
  // Run by every member, as Assign has decided.
  bool ForAll(const Copied& c) const { return owners_[c.made->op].empty(); }

  // Whether op i may be run by every member into an array of its own: it only writes it, and
  // whatever reads a part of it before the rest is overwritten reads nothing else with it.
  void FindCopied(uint32_t i) {
    if (Units(ops_[i]) != 1) return;
    const ArrayUse* made = nullptr;
    for (const ArrayUse& use : uses_[i]) {
      if (!use.writes) continue;
      if (made || use.reads || use.begin < plan_.state_size) return;
      made = &use;
    }
    const auto common = [&](const ArrayUse& use) {
      return std::pair(std::max(use.begin, made->begin), std::min(use.end, made->end));
    };
    for (const ArrayUse& use : uses_[i]) {
      const auto [begin, end] = common(use);
      if (&use != made && begin < end) return;
    }
    Copied c{made, {}};
    std::vector<bool> alive(made->end - made->begin, true);
    const auto at = [&](Slot slot) { return alive.begin() + (slot - made->begin); };
    for (uint32_t j = i + 1; j < ops_.size() && std::count(at(made->begin), alive.end(), true) > 0;
         ++j) {
      for (const ArrayUse& use : uses_[j]) {
        const auto [begin, end] = common(use);
        if (!use.reads || begin >= end) continue;
        const auto living = static_cast<size_t>(std::count(at(begin), at(end), true));
        if (living == 0) continue;
        if (use.writes || living != use.end - use.begin) return;
        c.readers.push_back(&use);
      }
      for (const ArrayUse& use : uses_[j]) {
        const auto [begin, end] = common(use);
        if (use.writes && begin < end) std::fill(at(begin), at(end), false);
      }
    }
    const Slot begin = std::max(plan_.output, made->begin);
    const Slot end = std::min(plan_.output + plan_.output_width, made->end);
    if (begin < end && std::count(at(begin), at(end), true) > 0) return;
    copied_of_[i] = static_cast<uint32_t>(copied_.size()) + 1;
    copied_.push_back(std::move(c));
  }

  // What the units of an op touch of arrays that all share.
  std::vector<Extent> Extents(uint32_t op) {
    std::vector<Extent> extents;
    std::vector<const Slot*> own;
    for (const Copied& c : copied_) {
      if (c.made->op >= op || !ForAll(c)) continue;
      for (const ArrayUse* reader : c.readers) {
        if (reader->op == op) own.push_back(reader->slot);
      }
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
    uint64_t before = 0;  // its cost
    for (uint32_t i = 0; i < ops_.size(); ++i) {
      const uint32_t units = Units(ops_[i]);
      const uint64_t cost = UnitCost(ops_[i]);
      const std::vector<Extent> extents = Extents(i);
      Phase joined = phase, alone(members_);
      joined.Add(i, units, cost, extents);
      alone.Add(i, units, cost, extents);
      const uint64_t together = joined.Share();
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
            before = 0;
          }
          phase.AddForAll(cost);
          before += cost;
          continue;
        }
      }
      const uint64_t apart = alone.Share();
      if (together <= before + kWaitCost + apart) {
        phase = std::move(joined);
        before = together;
      } else {
        phase.Share(&owners_);
        phase = std::move(alone);
        before = apart;
      }
      owners_[i].resize(units);
    }
    phase.Share(&owners_);
  }

  bool Runs(uint32_t op, uint32_t member) const {
    if (owners_[op].empty()) return needs_[op][member];
    return std::find(owners_[op].begin(), owners_[op].end(), member) != owners_[op].end();
  }

  // Members that read no copy of an array do not make one.
  void FindNeeds() {
    needs_.assign(ops_.size(), std::vector<bool>(members_));
    for (auto c = copied_.rbegin(); c != copied_.rend(); ++c) {
      if (!ForAll(*c)) continue;
      for (uint32_t m = 0; m < members_; ++m) {
        needs_[c->made->op][m] =
            std::any_of(c->readers.begin(), c->readers.end(),
                        [&](const ArrayUse* reader) { return Runs(reader->op, m); });
      }
    }
  }

  // Member m's shares of op i, one for each run of units.
  void AddShares(const TeamLayout& layout, uint32_t i, uint32_t m, std::vector<Share>* shares) {
    if (!Runs(i, m)) return;
    for (const ArrayUse& use : uses_[i]) *use.slot += layout.Shift(use.slot, m);
    const uint32_t units = Units(ops_[i]);
    const auto mine = [&](uint32_t u) { return owners_[i].empty() || owners_[i][u] == m; };
    for (uint32_t u = 0; u < units; ++u) {
      if (!mine(u)) continue;
      Share share{i, ops_[i], {u, u}, {}};
      for (; u < units && mine(u); ++u) AddTouched(&ops_[i], u, &share.touched);
      share.units.end = u;
      shares->push_back(std::move(share));
    }
    for (const ArrayUse& use : uses_[i]) *use.slot -= layout.Shift(use.slot, m);
  }

  // Adds what a unit touches, intervals joined where they meet.
  static void AddTouched(Op* op, uint32_t unit, std::vector<Extent>* touched) {
    VisitTouches(*op, unit, [&](Slot& slot, uint32_t begin, uint32_t end, Touch touch) {
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

  const Plan& plan_;
  const uint32_t members_;
  std::vector<Op> ops_;
  std::vector<std::vector<ArrayUse>> uses_;  // [op]
  Owners owners_;
  std::vector<uint32_t> copied_of_;  // 1 + index in copied_, 0: none
  std::vector<Copied> copied_;
  std::vector<std::vector<bool>> needs_;  // [op][member], of ops that every member runs
};

}  // namespace

TeamPlan BuildTeamPlan(const Plan& plan, uint32_t members) {
  return Builder(plan, members).Build();
}

}  // namespace xst
