// The physical limit of a step on this machine, measured where the step runs.
#pragma once

#include "sdk/model.h"

namespace xst {

// Microseconds to read the model's weight bytes once and read-modify-write the state bytes of
// `streams` once, on the calling thread with the model's instruction set: the median of `passes`,
// warm. On cpu:N on the threads that run a step, each with its N-th at the same time: the slowest
// one's. NaN on `reference`.
double LimitMicros(const Model& model, uint32_t streams, int passes);

// On cpu:N the CPU that the threads of the model leave to the caller; else -1: any.
int CallerCpu(const Model& model);

}  // namespace xst
