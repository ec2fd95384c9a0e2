// The floor of a step: what its memory traffic alone costs on this machine.
#pragma once

#include <cstddef>
#include <span>

namespace xst::kernels {

// A run of memory, at any alignment.
struct Region {
  const void* data;
  size_t bytes;
};

// Reads every region once and reads, changes and writes `state` (64-byte aligned) once, in order.
// Numbers in `state` stay numbers. The result depends on all that was read.
using MemoryPass = unsigned (*)(std::span<const Region> regions, std::span<float> state);

// The pass with the vectors of table `isa_name`, or null if this machine lacks it.
MemoryPass FindMemoryPass(const char* isa_name);

// Median time in microseconds of a warm pass over `weight_bytes` and `state_bytes` of memory of its
// own, random values in huge pages, on the calling thread. -1 if this machine lacks the table or
// the memory.
double StreamLimitMicros(size_t weight_bytes, size_t state_bytes, const char* isa_name, int passes);

}  // namespace xst::kernels
