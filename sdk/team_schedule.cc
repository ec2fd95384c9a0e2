#include "sdk/team_schedule.h"

#include <algorithm>
#include <iterator>
#include <limits>
#include <set>

namespace xst {
namespace {

constexpr uint32_t kNever = std::numeric_limits<uint32_t>::max();

bool Meet(const std::vector<Extent>& a, const std::vector<Extent>& b) {
  return std::any_of(a.begin(), a.end(), [&](const Extent& x) {
    return std::any_of(b.begin(), b.end(), [&](const Extent& y) { return Conflict(x, y); });
  });
}

class Scheduler {
 public:
  explicit Scheduler(const std::vector<std::vector<Share>>& shares) : shares_(shares) {
    for (const auto& of_member : shares) {
      for (const Share& s : of_member) ops_ = std::max(ops_, s.index + 1);
    }
    // [op][member]: what its shares touch.
    touched_.assign(ops_, std::vector<std::vector<Extent>>(shares.size()));
    for (size_t m = 0; m < shares.size(); ++m) {
      for (const Share& s : shares[m]) {
        auto& all = touched_[s.index][m];
        all.insert(all.end(), s.touched.begin(), s.touched.end());
      }
    }
  }

  std::vector<std::vector<TeamStep>> Run() {
    members_.resize(shares_.size());
    for (size_t m = 0; m < shares_.size(); ++m) {
      for (const Share& s : shares_[m]) members_[m].push_back({&s, 0, false});
      AddWaits(m);
      Postpone(m);
    }
    std::vector<std::vector<TeamStep>> steps;
    for (const auto& member : members_) steps.push_back(Steps(member));
    return steps;
  }

 private:
  struct Planned {
    const Share* share;
    uint32_t wait;
    bool postponed;
  };

  bool MeetsOthers(uint32_t op, const Share& share, size_t member) const {
    for (size_t other = 0; other < shares_.size(); ++other) {
      if (other != member && Meet(touched_[op][other], share.touched)) return true;
    }
    return false;
  }

  // The point to wait for is behind the last op that conflicts; what it covers need not be looked
  // at again.
  void AddWaits(size_t m) {
    uint32_t reached = 0;
    for (Planned& p : members_[m]) {
      for (uint32_t i = p.share->index; i > reached; --i) {
        if (!MeetsOthers(i - 1, *p.share, m)) continue;
        p.wait = reached = i;
        points_.insert(i);
        break;
      }
    }
  }

  void Postpone(size_t m) {
    std::vector<Planned>& plan = members_[m];
    size_t first = 0;  // behind the last wait
    for (size_t next = 0; next < plan.size(); ++next) {
      if (plan[next].wait == 0) continue;
      size_t end = next;  // of those that stay
      for (size_t i = next; i-- > first;) {
        if (plan[i].wait > 0) break;
        const Share& share = *plan[i].share;
        bool free = std::none_of(plan.begin() + i + 1, plan.begin() + end, [&](const Planned& p) {
          return Meet(p.share->touched, share.touched);
        });
        for (uint32_t op = 0; free && op < ops_; ++op) free = !MeetsOthers(op, share, m);
        if (!free) continue;
        plan[i].postponed = true;
        std::rotate(plan.begin() + i, plan.begin() + i + 1, plan.begin() + end);
        --end;
      }
      first = next;
    }
  }

  std::vector<TeamStep> Steps(const std::vector<Planned>& plan) const {
    std::vector<uint32_t> reached(
        plan.size());  // all ops before it are done but for postponed ones
    uint32_t op = kNever;
    for (size_t i = plan.size(); i-- > 0;) {
      if (!plan[i].postponed) op = plan[i].share->index;
      reached[i] = op;
    }
    std::vector<TeamStep> steps;
    uint32_t said = 0;
    for (size_t i = 0; i < plan.size(); ++i) {
      const auto behind = points_.upper_bound(reached[i]);
      const uint32_t point = behind == points_.begin() ? 0 : *std::prev(behind);
      const Share& s = *plan[i].share;
      steps.push_back({point > said ? point : 0, plan[i].wait, s.units, s.op});
      said = std::max(said, point);
    }
    return steps;
  }

  const std::vector<std::vector<Share>>& shares_;
  uint32_t ops_ = 0;
  std::vector<std::vector<std::vector<Extent>>> touched_;
  std::vector<std::vector<Planned>> members_;
  std::set<uint32_t> points_;
};

}  // namespace

std::vector<std::vector<TeamStep>> Schedule(const std::vector<std::vector<Share>>& shares) {
  return Scheduler(shares).Run();
}

}  // namespace xst
