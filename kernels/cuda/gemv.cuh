// The kernels behind LaunchGemv, one translation unit a weight type.
#pragma once

#include <algorithm>

#include "kernels/cuda/dependent_launch.cuh"
#include "kernels/cuda/gemv.h"
#include "kernels/cuda/row_task.cuh"

namespace xst::kernels::cuda {

__device__ inline void PrefetchVector(const float* p, uint32_t size) {
  for (uint32_t c = TeamThread() * 32; c < size && p; c += 32 * kRowThreads) {
    asm volatile("prefetch.global.L2 [%0];" ::"l"(p + c));
  }
}
__device__ inline void PrefetchVectors(const RowTask& a) {
  if (a.has_norm) PrefetchVector(a.norm.weight, a.cols);
  if (a.has_out) PrefetchVector(a.out.weight, a.cols);
}

// One lane leaves registers for two teams, whose latencies hide each other.
inline int TeamsFor(uint32_t lanes, int major) {
  return lanes == 1 && HasLargeShared(major) ? 2 : 1;
}

// Threads that share the registers of a multiprocessor: beside one lane's block of short rows a
// block of the cell fits, see mlstm_decode.cu.
template <int kTeams, int kPieces>
inline constexpr int kBlockThreads = kTeams == 2 && kPieces == 1 ? 640 : kTeams* kRowThreads;

// See RowShares; found by measurement.
template <class W, int kTeams>
inline constexpr uint32_t kSkewBytes = kTeams == 1                        ? 0
                                       : sizeof(typename W::Element) == 1 ? 32 << 10
                                                                          : 48 << 10;

template <class W, int kTeams, int kPieces, int kLanes>
__global__ void __launch_bounds__(kBlockThreads<kTeams, kPieces>, 1)
    GemvKernel(const __grid_constant__ RowTask a, const __grid_constant__ Frames<float> f) {
  using Feed = RowFeed<W, kTeams>;
  using Work = RowWork<W, kTeams, kPieces, kLanes>;
  if constexpr (Feed::kDepth >= Work::kStage * kPieces) {  // where the host chooses it
    extern __shared__ uint4 shared[];
    float* sums = reinterpret_cast<float*>(shared + Feed::kAllSlots * kRowThreads) +
                  TeamOfBlock() * (kRowSums / kTeams);
    Feed feed(shared);
    feed.Start(a, kPieces);
#pragma unroll 1
    for (int i = 0; i < Feed::kDepth; ++i) feed.Copy();
    PrefetchVectors(a);
    WaitForPredecessor();
    LetSuccessorStart();
    typename Work::X x;
    Work::Prepare(a, f, sums, x);
    Work::Run(a, f, x, sums, feed);
    if (a.has_cell) FinishCell(a.cell, f);  // the teams that own the fewest rows
  }
}

// Lanes that one kernel takes: as many as their x has registers.
template <int kPieces>
inline constexpr uint32_t kMaxLanes = kPieces == 1 ? 8 : 4;

template <class W, int kTeams, int kPieces, int kLanes>
cudaError_t LaunchLanes(const RowTask& a, const Frames<float>& f, const DeviceShape& device,
                        bool dependent, cudaStream_t stream) {
  const auto kernel = GemvKernel<W, kTeams, kPieces, kLanes>;
  const size_t shared = RowStreamShared(device.major);
  if (const cudaError_t e = cudaFuncSetAttribute(
          kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(shared))) {
    return e;
  }
  const bool gated = a.epilogue == RowEpilogue::gated;
  const uint32_t units = gated ? a.act.size : a.part[0].rows + a.part[1].rows;
  const uint32_t blocks = std::min(units, static_cast<uint32_t>(device.multiprocessors));
  RowTask task = a;
  task.shares =
      RowShares::Of(units, blocks * kTeams, a.row_bytes * (gated ? 2 : 1), kSkewBytes<W, kTeams>);
  return LaunchKernel(kernel, blocks, kTeams * kRowThreads, shared, dependent && device.early_start,
                      stream, task, f);
}

template <class W, int kPieces>
cudaError_t LaunchPieces(const RowTask& a, Frames<float> f, const DeviceShape& device,
                         bool dependent, cudaStream_t stream) {
  constexpr uint32_t kMost = kMaxLanes<kPieces>;
  for (uint32_t left = f.lanes; left > 0;) {
    f.lanes = std::min(left, kMost);
    cudaError_t e;
    if (f.lanes == 1) {
      e = TeamsFor(1, device.major) == 2
              ? LaunchLanes<W, 2, kPieces, 1>(a, f, device, dependent, stream)
              : LaunchLanes<W, 1, kPieces, 1>(a, f, device, dependent, stream);
    } else if (f.lanes == 2) {
      e = LaunchLanes<W, 1, kPieces, 2>(a, f, device, dependent, stream);
    } else if (f.lanes <= 4) {
      e = LaunchLanes<W, 1, kPieces, 4>(a, f, device, dependent, stream);
    } else {
      e = LaunchLanes<W, 1, kPieces, static_cast<int>(kMost)>(a, f, device, dependent, stream);
    }
    if (e) return e;
    left -= f.lanes;
    f.data += f.lanes * f.stride;
    if (f.active) f.active += f.lanes;
  }
  return cudaSuccess;
}

template <class W>
cudaError_t LaunchGemvOf(const RowTask& a, const Frames<float>& f, const DeviceShape& device,
                         bool dependent, cudaStream_t stream) {
  if (a.cols <= kPieceColumns) return LaunchPieces<W, 1>(a, f, device, dependent, stream);
  return LaunchPieces<W, kWidePieces>(a, f, device, dependent, stream);
}

extern template cudaError_t LaunchGemvOf<WeightF32>(const RowTask&, const Frames<float>&,
                                                    const DeviceShape&, bool, cudaStream_t);
extern template cudaError_t LaunchGemvOf<WeightBf16>(const RowTask&, const Frames<float>&,
                                                     const DeviceShape&, bool, cudaStream_t);
extern template cudaError_t LaunchGemvOf<WeightI16>(const RowTask&, const Frames<float>&,
                                                    const DeviceShape&, bool, cudaStream_t);
extern template cudaError_t LaunchGemvOf<WeightI8>(const RowTask&, const Frames<float>&,
                                                   const DeviceShape&, bool, cudaStream_t);

}  // namespace xst::kernels::cuda
