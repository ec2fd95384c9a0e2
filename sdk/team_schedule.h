// When the members of a team wait for each other.
#pragma once

#include <cstdint>
#include <vector>

#include "sdk/team_phase.h"
#include "sdk/team_plan.h"

namespace xst {

// A member's units of an op, and what of the frame they touch.
struct Share {
  uint32_t index;  // of the op
  kernels::Op op;
  kernels::Range units;
  std::vector<Extent> touched;
};

// From the shares of each member in the order of the ops: each waits for what others' earlier ops
// have in conflict with it. What concerns no other member, and nothing before the next wait, is
// done right before that wait: the others' results arrive meanwhile.
std::vector<std::vector<TeamStep>> Schedule(const std::vector<std::vector<Share>>& shares);

}  // namespace xst
