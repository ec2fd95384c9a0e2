// The split of a step: what ops touch, who runs them, and that no two threads meet.
#include "sdk/team_plan.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>

#include "kernels/touches.h"
#include "sdk/model_core.h"
#include "tests/support/vectors.h"

namespace xst {
namespace {

using kernels::Op;
using kernels::Slot;
using kernels::Touch;

std::vector<std::string> ModelNames() {
  std::vector<std::string> names = test::CaseNames();
  names.push_back("tirex/01_small");
  return names;
}

class EveryModel : public testing::TestWithParam<std::string> {};

INSTANTIATE_TEST_SUITE_P(Vectors, EveryModel, testing::ValuesIn(ModelNames()),
                         [](const auto& param) {
                           std::string name = param.param;
                           for (char& ch : name) ch = ch == '/' ? '_' : ch;
                           return name;
                         });

// What each element is to some units of an op.
std::vector<uint8_t> TouchMap(Op op, kernels::Range units, size_t size, bool reads, bool writes) {
  std::vector<uint8_t> map(size);
  for (uint32_t u = units.begin; u < units.end; ++u) {
    VisitTouches(op, u, [&](Slot& slot, uint32_t begin, uint32_t end, Touch touch) {
      ASSERT_LE(slot + end, size);
      if (reads ? touch == Touch::write : touch == Touch::read) return;
      if (!writes && !reads) return;
      std::fill(map.begin() + slot + begin, map.begin() + slot + end, 1);
    });
  }
  return map;
}

// Runs each unit of each op alone: it changes only what it says, all of what it says it writes, and
// what it does not say it reads does not matter.
TEST_P(EveryModel, TouchesAreWhatKernelsDo) {
  for (const std::string& isa : AvailableIsas()) {
    const auto model = test::OpenCase(GetParam(), isa, "cpu", Arithmetic::single);
    const ModelCore& core = model->core();
    const size_t size = core.plan.frame_size;
    std::mt19937 random(1);
    std::uniform_real_distribution<float> values(0.1f, 1);
    std::vector<float> before(size);
    for (float& v : before) v = values(random);
    if (core.plan.tokens) before[core.plan.input] = 3;
    for (const Op& op : core.plan.ops) {
      for (uint32_t u = 0; u < Units(op); ++u) {
        const auto read = TouchMap(op, {u, u + 1}, size, true, false);
        const auto written = TouchMap(op, {u, u + 1}, size, false, true);
        std::vector<float> plain = before, poisoned = before;
        for (size_t i = 0; i < size; ++i) {
          if (!read[i]) poisoned[i] = std::numeric_limits<float>::quiet_NaN();
        }
        kernels::Run(*core.single_kernels, op, plain.data(), {u, u + 1});
        kernels::Run(*core.single_kernels, op, poisoned.data(), {u, u + 1});
        for (size_t i = 0; i < size; ++i) {
          if (!written[i]) {
            ASSERT_EQ(plain[i], before[i]) << "op " << op.index() << " unit " << u << " at " << i;
          } else {
            ASSERT_EQ(plain[i], poisoned[i]) << "op " << op.index() << " unit " << u << " at " << i;
          }
        }
      }
    }
  }
}

// A step's intervals, joined where they meet.
struct Access {
  std::vector<std::pair<Slot, Slot>> reads, writes;
};

std::vector<std::pair<Slot, Slot>> Intervals(const std::vector<uint8_t>& map) {
  std::vector<std::pair<Slot, Slot>> intervals;
  for (size_t i = 0; i < map.size(); ++i) {
    if (!map[i]) continue;
    const size_t begin = i;
    while (i < map.size() && map[i]) ++i;
    intervals.emplace_back(begin, i);
  }
  return intervals;
}

bool Meet(const std::vector<std::pair<Slot, Slot>>& a,
          const std::vector<std::pair<Slot, Slot>>& b) {
  for (const auto& x : a) {
    for (const auto& y : b) {
      if (x.first < y.second && y.first < x.second) return true;
    }
  }
  return false;
}

bool Conflict(const Access& a, const Access& b) {
  return Meet(a.writes, b.writes) || Meet(a.writes, b.reads) || Meet(a.reads, b.writes);
}

// The op of the Plan that a step is of: weights and units are the same.
constexpr uint32_t kEnd = std::numeric_limits<uint32_t>::max();

class Schedule {
 public:
  explicit Schedule(const TeamPlan& plan) : plan_(plan) {
    for (const auto& steps : plan.members) {
      std::vector<Access>& accesses = accesses_.emplace_back();
      for (const TeamStep& s : steps) {
        accesses.push_back({Intervals(TouchMap(s.op, s.units, plan.frame_size, true, false)),
                            Intervals(TouchMap(s.op, s.units, plan.frame_size, false, true))});
      }
    }
  }

  // Whether step i of member a is over before step j of member b begins, whatever the timing.
  bool Before(size_t a, size_t i, size_t b, size_t j) const {
    uint32_t awaited = 0;
    for (size_t k = 0; k <= j; ++k) awaited = std::max(awaited, plan_.members[b][k].wait);
    if (awaited == 0) return false;
    // b goes on as soon as a says that point or a later one.
    for (size_t k = 0; k < plan_.members[a].size(); ++k) {
      if (plan_.members[a][k].publish >= awaited) return i < k;
    }
    return true;  // at the end
  }

  void ExpectNoRace() const {
    for (size_t a = 0; a < accesses_.size(); ++a) {
      for (size_t b = a + 1; b < accesses_.size(); ++b) {
        for (size_t i = 0; i < accesses_[a].size(); ++i) {
          for (size_t j = 0; j < accesses_[b].size(); ++j) {
            if (!Conflict(accesses_[a][i], accesses_[b][j])) continue;
            ASSERT_TRUE(Before(a, i, b, j) || Before(b, j, a, i))
                << "step " << i << " of member " << a << ", step " << j << " of member " << b;
          }
        }
      }
    }
  }

  // One member after the other, each as far as it gets.
  void ExpectToEnd() const {
    std::vector<size_t> at(plan_.members.size());
    std::vector<uint32_t> reached(plan_.members.size());
    for (bool moved = true; moved;) {
      moved = false;
      for (size_t m = 0; m < at.size(); ++m) {
        for (; at[m] < plan_.members[m].size(); ++at[m], moved = true) {
          const TeamStep& s = plan_.members[m][at[m]];
          if (s.publish > 0) {
            if (s.publish > reached[m]) moved = true;
            reached[m] = s.publish;
          }
          const bool free = std::all_of(at.begin(), at.end(), [&](const size_t& other) {
            const size_t o = static_cast<size_t>(&other - at.data());
            return o == m || reached[o] >= s.wait;
          });
          if (!free) break;
        }
        if (at[m] == plan_.members[m].size() && reached[m] != kEnd) {
          reached[m] = kEnd;
          moved = true;
        }
      }
    }
    for (size_t m = 0; m < at.size(); ++m) ASSERT_EQ(at[m], plan_.members[m].size()) << m;
  }

 private:
  const TeamPlan& plan_;
  std::vector<std::vector<Access>> accesses_;
};

TEST_P(EveryModel, NoTwoMembersMeetAndAllComeToTheEnd) {
  const auto model = test::OpenCase(GetParam());
  for (uint32_t members : {2, 3, 4, 5, 8, 16}) {
    SCOPED_TRACE(std::to_string(members) + " members");
    const TeamPlan plan = BuildTeamPlan(model->core().plan, members);
    ASSERT_EQ(plan.members.size(), members);
    const Schedule schedule(plan);
    schedule.ExpectNoRace();
    schedule.ExpectToEnd();
  }
}

// Weights tell ops apart.
const void* Identity(const Op& op) {
  if (const auto* o = std::get_if<kernels::Linear>(&op)) return o->w.data;
  if (const auto* o = std::get_if<kernels::BlockLinear>(&op)) return o->w.data;
  if (const auto* o = std::get_if<kernels::Conv>(&op)) return o->weight;
  if (const auto* o = std::get_if<kernels::MlstmOut>(&op)) return o->weight;
  if (const auto* o = std::get_if<kernels::SlstmInput>(&op)) return o->w.data;
  if (const auto* o = std::get_if<kernels::SlstmCell>(&op)) return o->r.data;
  return nullptr;
}

TEST_P(EveryModel, EveryUnitIsRunOnce) {
  const auto model = test::OpenCase(GetParam());
  const Plan& plan = model->core().plan;
  for (uint32_t members : {2, 3, 8}) {
    const TeamPlan team = BuildTeamPlan(plan, members);
    for (const Op& op : plan.ops) {
      const void* identity = Identity(op);
      if (!identity || Units(op) == 1) continue;
      std::vector<int> runs(Units(op));
      size_t alike = 0;  // a tied embedding comes once as a matrix
      for (const Op& other : plan.ops) {
        alike += other.index() == op.index() && Identity(other) == identity;
      }
      for (const TeamStep& s : team.in_order) {
        if (s.op.index() != op.index() || Identity(s.op) != identity) continue;
        for (uint32_t u = s.units.begin; u < s.units.end; ++u) ++runs[u];
      }
      for (int n : runs) ASSERT_EQ(n, static_cast<int>(alike)) << "op " << op.index();
    }
    size_t steps = 0;
    for (const auto& m : team.members) steps += m.size();
    EXPECT_EQ(steps, team.in_order.size());
  }
}

TEST_P(EveryModel, MovesEachElementOfTheStateToAPlaceOfItsOwn) {
  const auto model = test::OpenCase(GetParam());
  const Plan& plan = model->core().plan;
  const TeamPlan team = BuildTeamPlan(plan, 3);
  Whereabouts where(team.moved);
  std::vector<bool> taken(team.frame_size);
  for (const StateArray& a : plan.state) {
    for (uint32_t i = 0; i < a.rows; ++i) {
      for (uint32_t j = 0; j < a.cols; ++j) {
        const Slot at = where.Find(a.slot + i * a.stride + j);
        ASSERT_LT(at, team.frame_size);
        ASSERT_FALSE(taken[at]);
        taken[at] = true;
      }
    }
  }
  for (Slot s = plan.state_size; s < plan.frame_size; ++s) ASSERT_FALSE(taken[s]);
}

TEST(TeamPlan, WaitsThreeTimesInABlock) {
  const auto model = test::OpenCase("block_stack/readme_config");
  for (uint32_t members : {2, 4}) {
    for (const auto& steps : BuildTeamPlan(model->core().plan, members).members) {
      const auto waits =
          std::count_if(steps.begin(), steps.end(), [](const TeamStep& s) { return s.wait > 0; });
      EXPECT_LE(waits, 6 * 3 + 4);  // six mLSTM blocks, one sLSTM block with its feed-forward
    }
  }
}

TEST(TeamPlan, LeavesATinyModelToOneMember) {
  const auto model = test::OpenCase("block_stack/kernel_one");
  const TeamPlan plan = BuildTeamPlan(model->core().plan, 4);
  EXPECT_TRUE(plan.IsOneMembers());
  EXPECT_EQ(plan.members[0].size(), model->core().plan.ops.size());
  EXPECT_FALSE(
      BuildTeamPlan(test::OpenCase("block_stack/readme_config")->core().plan, 2).IsOneMembers());
}

}  // namespace
}  // namespace xst
