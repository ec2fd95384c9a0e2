// The floor of a step: what its memory traffic alone costs on this machine.
#pragma once

#include <cstddef>

namespace xst::kernels {

// Median time in microseconds of one pass that reads `weight_bytes` once and reads, changes and
// writes `state_bytes` once, on the calling thread, with the vectors of table `isa_name`. Allocates
// both, filled with random values, and runs `passes` warm passes; beyond 1 GiB in all it measures
// that much and scales the time up. -1 if this machine lacks the
// table or the memory.
double StreamLimitMicros(size_t weight_bytes, size_t state_bytes, const char* isa_name, int passes);

}  // namespace xst::kernels
