// Rows of a matrix from device memory through shared memory to sums, at the speed of the former.
//
// A team of 256 threads, one or two of which are a block, owns consecutive rows. The threads share
// the columns of a row: a row is cut into pieces of 4,096 columns, of which thread t has the
// 16-byte chunks t, t + 256, ..., 16 numbers in all. It keeps the x of those columns in registers,
// and streams the same chunks of every row through a ring that only it reads and writes, so nothing
// but the sums of a row is ever exchanged.
#pragma once

#include <cuda_runtime.h>

#include <algorithm>

#include "kernels/cuda/frames.h"
#include "kernels/cuda/math.cuh"
#include "kernels/cuda/weights.cuh"

namespace xst::kernels::cuda {

inline constexpr int kRowThreads = 256;
inline constexpr int kRowWarps = kRowThreads / 32;
inline constexpr int kRowSums = 2048;      // floats of a block's row sums between two epilogues
inline constexpr int kRowSlots = 48;       // chunks in the rings of the teams
inline constexpr int kRowSlotsSmall = 20;  // where a multiprocessor has only 100 KB
inline constexpr uint32_t kPieceColumns = 4096;
inline constexpr int kWidePieces = 3;  // of the longest rows
inline constexpr bool HasLargeShared(int major) { return major >= 9 && major <= 11; }
inline constexpr size_t RowStreamShared(int major) {
  return size_t{16} * kRowThreads * (HasLargeShared(major) ? kRowSlots : kRowSlotsSmall) +
         kRowSums * sizeof(float);
}

// The team of this thread among those of the grid.
__device__ inline uint32_t TeamThread() { return threadIdx.x % kRowThreads; }
__device__ inline uint32_t TeamOfBlock() { return threadIdx.x / kRowThreads; }
__device__ inline uint32_t TeamIndex() {
  return blockIdx.x * (blockDim.x / kRowThreads) + TeamOfBlock();
}
__device__ inline uint32_t Teams() { return gridDim.x * (blockDim.x / kRowThreads); }
__device__ inline void SyncTeam() {
  asm volatile("bar.sync %0, %1;" ::"r"(1 + TeamOfBlock()), "n"(kRowThreads) : "memory");
}

enum class RowEpilogue : uint8_t { store, accumulate, gated, soft_cap };

struct RowSet {  // of one matrix
  const uint8_t* w;
  const float* scale;
  const float* bias;
  uint32_t rows;
  Slot y;
};

// Which rows (gated: pairs of rows) the teams of a grid own. The first blocks, whose
// multiprocessors became free first, own fewer: so the blocks end one after the other, and while
// some multiprocessors change to the next kernel, others keep the memory busy.
struct RowShares {
  uint64_t base, skew;  // the rows of team i begin with i (base + i skew) / 2^32

  // The first team owns `skew_bytes` less than the mean (half of it, if that is less), the last as
  // much more.
  static RowShares Of(uint32_t rows, uint32_t teams, size_t row_bytes, uint32_t skew_bytes) {
    const uint64_t even = ((uint64_t{rows} << 32) + teams - 1) / teams;
    const uint64_t most = std::min((uint64_t{skew_bytes} << 32) / row_bytes, even / 2);
    const uint64_t skew = most / teams;
    return {even - skew * teams, skew};
  }
  __device__ uint32_t First(uint32_t team) const {
    return static_cast<uint32_t>(team * (base + team * skew) >> 32);
  }
};

// y = W x' with what comes before and after, see Gemv.
struct RowTask {
  RowSet part[2];
  size_t row_bytes;
  uint32_t chunks, cols;
  Slot x;
  bool has_norm, has_out, has_cell;
  RowEpilogue epilogue;
  float soft_cap;
  Norm norm;
  MlstmOut out;
  MlstmCell cell;
  GatedAct act;
  RowShares shares;
};

// The rows of this team: gated, pairs of a gate row and its linear row, which alternate.
struct RowSpan {
  uint32_t first, count;
  __device__ explicit RowSpan(const RowTask& a) {
    const bool gated = a.epilogue == RowEpilogue::gated;
    first = a.shares.First(TeamIndex());
    count = a.shares.First(TeamIndex() + 1) - first;
    if (gated) first *= 2, count *= 2;
  }
};

// E weights of 16 bytes as floats, without their scale.
template <class W>
struct Unpack;
template <>
struct Unpack<WeightF32> {
  static __device__ void To(const uint4& q, float (&w)[4]) {
    w[0] = __uint_as_float(q.x);
    w[1] = __uint_as_float(q.y);
    w[2] = __uint_as_float(q.z);
    w[3] = __uint_as_float(q.w);
  }
};
template <>
struct Unpack<WeightBf16> {
  static __device__ void To(const uint4& q, float (&w)[8]) {
    const uint32_t words[4] = {q.x, q.y, q.z, q.w};
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      w[2 * i] = __uint_as_float(words[i] << 16);
      w[2 * i + 1] = __uint_as_float(words[i] & 0xffff0000u);
    }
  }
};
// A small integer below 2^23 in the mantissa of 2^23: exact, and faster than a conversion.
template <>
struct Unpack<WeightI16> {
  static __device__ void To(const uint4& q, float (&w)[8]) {
    const uint32_t words[4] = {q.x, q.y, q.z, q.w};
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const uint32_t u = words[i] ^ 0x80008000u;
      w[2 * i] = __uint_as_float(__byte_perm(u, 0x4b000000u, 0x7610)) - 8421376.0f;
      w[2 * i + 1] = __uint_as_float(__byte_perm(u, 0x4b000000u, 0x7632)) - 8421376.0f;
    }
  }
};
template <>
struct Unpack<WeightI8> {
  static __device__ void To(const uint4& q, float (&w)[16]) {
    const uint32_t words[4] = {q.x, q.y, q.z, q.w};
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const uint32_t u = words[i] ^ 0x80808080u;
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        w[4 * i + j] = __uint_as_float(__byte_perm(u, 0x4b000000u, 0x7650 + j)) - 8388736.0f;
      }
    }
  }
};

__device__ inline void CopyChunk(uint32_t shared, const void* global, bool valid) {
  asm volatile("cp.async.cg.shared.global.L2::256B [%0], [%1], 16, %2;" ::"r"(shared), "l"(global),
               "r"(valid ? 16 : 0)
               : "memory");
}
__device__ inline void CloseGroup() { asm volatile("cp.async.commit_group;" ::: "memory"); }
template <int kPending>
__device__ inline void WaitForGroups() {
  asm volatile("cp.async.wait_group %0;" ::"n"(kPending) : "memory");
}

// Sums kValues numbers (a power of two up to 32) over a warp, always as a tree over lanes 16, 8, 4,
// 2, 1 apart. Lane l gets the sum of value l / (32 / kValues).
template <int kValues>
__device__ float SumValues(float (&v)[kValues], uint32_t lane) {
  int n = kValues;
#pragma unroll
  for (int d = 16; d > 0; d /= 2) {
    if (n == 1) {
      v[0] += __shfl_xor_sync(0xffffffffu, v[0], d);
      continue;
    }
    n /= 2;
    const bool upper = lane & d;
#pragma unroll
    for (int i = 0; i < kValues / 2; ++i) {
      if (i < n) {
        const float give = upper ? v[i] : v[i + n];
        const float keep = upper ? v[i + n] : v[i];
        v[i] = keep + __shfl_xor_sync(0xffffffffu, give, d);
      }
    }
  }
  return v[0];
}

// The ring of this thread and where its next piece comes from.
template <class W, int kTeams>
class RowFeed {
 public:
  static constexpr int kElements = 16 / sizeof(typename W::Element);  // of a chunk
  static constexpr int kChunks = 16 / kElements;                      // of a piece, for a thread
#if defined(__CUDA_ARCH__)
  static constexpr int kAllSlots = HasLargeShared(__CUDA_ARCH__ / 100) ? kRowSlots : kRowSlotsSmall;
#else
  static constexpr int kAllSlots = kRowSlots;
#endif
  static constexpr int kSlots = kAllSlots / kTeams;
  static constexpr int kDepth = kSlots / kChunks;  // pieces in the ring

  // `rings` of all teams.
  __device__ explicit RowFeed(uint4* rings)
      : ring_(rings + TeamOfBlock() * kSlots * kRowThreads + TeamThread()),
        address_(static_cast<uint32_t>(__cvta_generic_to_shared(ring_))) {}

  // Begins with the rows of the team; `pieces` a row.
  __device__ void Start(const RowTask& a, uint32_t pieces) {
    const RowSpan span(a);
    left_ = span.count;
    chunks_ = a.chunks;
    pieces_ = pieces;
    until_second_ = 0;
    const uint8_t* w = a.part[0].w;
    const auto bytes = static_cast<ptrdiff_t>(a.row_bytes);
    step_ = other_ = bytes;
    size_t at = span.first;
    if (a.epilogue == RowEpilogue::gated) {
      step_ = bytes * a.act.size;
      other_ = bytes - step_;
      at /= 2;
    } else if (span.first >= a.part[0].rows) {
      w = a.part[1].w;
      at -= a.part[0].rows;
    } else {
      until_second_ = a.part[0].rows - span.first;
      second_ = a.part[1].w + TeamThread() * 16;
    }
    row_ = w + at * a.row_bytes + TeamThread() * 16;
  }

  // Copies the next piece, if there is one, and closes a group.
  __device__ void Copy() {
    if (left_ > 0) {
#pragma unroll
      for (int c = 0; c < kChunks; ++c) {
        const uint32_t first = (part_ * kChunks + c) * kRowThreads;
        const bool valid = first + TeamThread() < chunks_;
        CopyChunk(address_ + (fill_ * kChunks + c) * (16 * kRowThreads),
                  row_ + (valid ? first * 16 : 0), valid);
      }
      if (++part_ == pieces_) {
        part_ = 0;
        --left_;
        row_ += step_;
        const ptrdiff_t step = step_;
        step_ = other_;
        other_ = step;
        if (--until_second_ == 0) row_ = second_;
      }
    }
    CloseGroup();
    fill_ = fill_ + 1 == kDepth ? 0 : fill_ + 1;
  }

  // Piece `ahead` of those not taken yet; kDepth - taken groups may still be on their way.
  __device__ uint4 Chunk(uint32_t ahead, int c) const {
    uint32_t at = take_ + ahead;
    if (at >= kDepth) at -= kDepth;
    return ring_[(at * kChunks + c) * kRowThreads];
  }
  __device__ void Take(uint32_t pieces) {
    take_ += pieces;
    if (take_ >= kDepth) take_ -= kDepth;
  }

 private:
  const uint4* ring_;
  uint32_t address_;
  uint32_t fill_ = 0, take_ = 0, part_ = 0;
  uint32_t left_ = 0, chunks_ = 0, pieces_ = 1, until_second_ = 0;
  const uint8_t* row_ = nullptr;
  const uint8_t* second_ = nullptr;
  ptrdiff_t step_ = 0, other_ = 0;
};

}  // namespace xst::kernels::cuda
