#include "kernels/cuda/large_decode.h"

#include "kernels/cuda/dependent_launch.cuh"
#include "kernels/cuda/large_gemvs.h"
#include "kernels/cuda/mlstm_decode.h"
#include "kernels/cuda/weights.cuh"

namespace xst::kernels::cuda {
namespace {

constexpr int kThreads = 256;

// The first of the chain: it starts when all before it has finished.
template <class W>
__global__ void EmbedRow(Embed o, size_t row_stride, Frames<float> frames) {
  WaitForPredecessor();
  LetSuccessorStart();
  float* frame = frames.data + blockIdx.y * frames.stride;
  const uint32_t col = blockIdx.x * kThreads + threadIdx.x;
  if (col >= o.table.cols) return;
  const auto id = static_cast<uint32_t>(frame[o.token]);
  const uint32_t row = min(id, o.table.rows - 1);
  const auto* table = static_cast<const typename W::Element*>(o.table.data);
  float v = W::Number(table[row * row_stride + col]);
  if (W::kScaled) v *= o.table.scale[row];
  frame[o.x + col] = v;
}

}  // namespace

bool Fits(const LargeStack& s) {
  if (s.embed.table.layout != Layout::rows || !Fits(Head(s))) return false;
  for (const LargeBlock& b : s.blocks) {
    if (!Fits(First(b)) || (!OneLaunch(b) && !Fits(Gates(b))) || !Fits(Out(b)) || !Fits(Up(b)) ||
        !Fits(Down(b))) {
      return false;
    }
  }
  return true;
}

cudaError_t LaunchLargeDecode(const LargeStack& s, const Frames<float>& frames,
                              const DeviceShape& device, cudaStream_t stream) {
  const auto gemv = [&](const Gemv& g) { return LaunchGemv(g, frames, device, true, stream); };
  cudaError_t e = cudaSuccess;
  WithWeights(s.embed.table.dtype, [&]<class W>(W) {
    // See LaunchMlstmDecode.
    e = cudaFuncSetAttribute(EmbedRow<W>, cudaFuncAttributePreferredSharedMemoryCarveout,
                             cudaSharedmemCarveoutMaxShared);
    if (e) return;
    const dim3 grid((s.embed.table.cols + kThreads - 1) / kThreads, frames.lanes);
    e = LaunchKernel(EmbedRow<W>, grid, kThreads, 0, false, stream, s.embed,
                     RowStride(s.embed.table.dtype, s.embed.table.cols), frames);
  });
  if (e) return e;
  for (const LargeBlock& b : s.blocks) {
    if ((e = gemv(First(b)))) return e;
    if (!OneLaunch(b) && (e = gemv(Gates(b)))) return e;
    if ((e = LaunchMlstmDecode(b.cell, frames, device.early_start, stream))) return e;
    if ((e = gemv(Out(b)))) return e;
    if ((e = gemv(Up(b)))) return e;
    if ((e = gemv(Down(b)))) return e;
  }
  return gemv(Head(s));
}

}  // namespace xst::kernels::cuda
