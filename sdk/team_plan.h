// A Plan's step for several threads: which units of which op each of them runs, and where it has to
// wait for the others. Results are those of one thread bit for bit, as a unit's result does not
// depend on who computes it.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/ops.h"
#include "sdk/plan.h"
#include "sdk/team_layout.h"

namespace xst {

// What a member does: say how far it is, wait for the others, run units of an op. A *point* p is
// reached when all ops of the Plan before the p-th are done; 0 says and waits for nothing.
struct TeamStep {
  uint32_t publish;  // the point this member has reached
  uint32_t wait;     // until every other member has reached this point
  kernels::Range units;
  kernels::Op op;  // of the Plan; with arrays of this member's own in place of some
};

struct TeamPlan {
  std::vector<std::vector<TeamStep>> members;
  std::vector<TeamStep> in_order;  // all of them as one thread may run them
  uint32_t frame_size = 0;         // the Plan's, with the members' own arrays behind it
  std::vector<Moved> moved;        // state that is there, sorted

  // Whether the model is too small to share out.
  bool IsOneMembers() const { return members[0].size() == in_order.size(); }
};

// Whatever ops and units touch the same array are put into one member's hands or in order. Units
// stay with the member that made their input as long as this balances: else, and where an op reads
// what all members wrote, there is a wait. An op of one unit that all need is run by each member
// into an array of its own.
TeamPlan BuildTeamPlan(const Plan& plan, uint32_t members);

}  // namespace xst
