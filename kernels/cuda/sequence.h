// The ops with state over a whole Sequence: T steps of every lane in one launch or two.
//
// Every launcher gives, for each token, what the op gives when the steps run one after another, and
// leaves the state as the last of them does. They allocate nothing and may be captured in a graph.
// T is float or double; in double the state is rounded to float after every step, as it is there.
#pragma once

#include <cuda_runtime.h>

#include "kernels/cuda/frames.h"

namespace xst::kernels::cuda {

template <class T>
cudaError_t LaunchSequence(const Conv& o, const Sequence<T>& s, cudaStream_t stream);

// Writes `out` of every token, and y, c, n and m of every lane.
template <class T>
cudaError_t LaunchSequence(const SlstmCell& o, const Sequence<T>& s, cudaStream_t stream);

// x += headnorm(out) (1 + weight) of every token; y has its last value from the cell.
template <class T>
cudaError_t LaunchSequence(const SlstmOut& o, const Sequence<T>& s, cudaStream_t stream);

// The mLSTM's head norm, skip and gate of every token, where the head is vectors of four floats.
bool FitsSequence(const MlstmOut& o, const Sequence<float>& s);
cudaError_t LaunchSequence(const MlstmOut& o, const Sequence<float>& s, cudaStream_t stream);

// Bytes of device memory that the cell needs beside the frames, 16-byte aligned; they grow with
// lanes and steps, so those of the largest piece serve every smaller one.
size_t SequenceWorkspace(const MlstmCell& o, uint32_t lanes, uint32_t steps, bool fast);

// Chunks of 64 steps on tensor cores: float as exact as a float32 sum (three tf32 products), or,
// with `fast`, bf16 factors and float32 sums. double and what does not fit run step by step.
template <class T>
cudaError_t LaunchSequence(const MlstmCell& o, const Sequence<T>& s, bool fast, void* workspace,
                           cudaStream_t stream);

}  // namespace xst::kernels::cuda
