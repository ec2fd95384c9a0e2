// Which CPUs the members of a team run on.
#pragma once

#include <cstdint>
#include <vector>

namespace xst {

// `count` CPUs of those that the calling thread may run on, the one it is on first; then others
// with a core and so an L2 of their own, near ones first; then what is left. With fewer than
// `count` the list is shorter; empty if the system does not tell.
std::vector<int> ChooseCpus(uint32_t count);

}  // namespace xst
