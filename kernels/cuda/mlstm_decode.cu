#include "kernels/cuda/mlstm_decode.h"

#include "kernels/cuda/dependent_launch.cuh"
#include "kernels/cuda/mlstm_decode.cuh"

namespace xst::kernels::cuda {
namespace {

// A quarter of a multiprocessor's registers, what the kernel before leaves free: so C is read while
// that one still runs. The successor, which reads nothing but weights before it waits for this
// kernel, and so for the one before, may start at once.
__global__ void __launch_bounds__(MlstmTile::kThreads, 4)
    Cell(const __grid_constant__ MlstmCell o, const __grid_constant__ Frames<float> frames) {
  __shared__ float scratch[MlstmTile::kScratch];
  LetSuccessorStart();
  MlstmTile tile(o, frames, blockIdx.y, blockIdx.x);
  WaitForPredecessor();
  if (frames.active && !frames.active[blockIdx.y]) return;
  tile.Step(scratch);
}

}  // namespace

cudaError_t LaunchMlstmDecode(const MlstmCell& o, const Frames<float>& frames, bool dependent,
                              cudaStream_t stream) {
  // As the kernels before and after it: a multiprocessor that has to divide its memory anew first
  // becomes idle.
  if (const cudaError_t e = cudaFuncSetAttribute(
          Cell, cudaFuncAttributePreferredSharedMemoryCarveout, cudaSharedmemCarveoutMaxShared)) {
    return e;
  }
  const dim3 grid(o.heads * MlstmTile::TilesOf(o), frames.lanes);
  return LaunchKernel(Cell, grid, MlstmTile::kThreads, 0, dependent, stream, o, frames);
}

}  // namespace xst::kernels::cuda
