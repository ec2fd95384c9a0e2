// Products of 16 x 16 x 8k tiles by one warp, from shared memory to register accumulators, in the
// two arithmetics of long inputs. Needs sm_80.
//
// An accumulator tile is the m16n8 fragment: with g = thread / 4 and t = thread % 4, elements 0, 1
// are row g, columns 2t and 2t + 1; elements 2, 3 are row g + 8.
#pragma once

#include <cuda_bf16.h>

#include <cstdint>

namespace xst::kernels::cuda::sequence {

using Tile = float[4];

__device__ inline void MmaTf32(Tile& d, const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  asm("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
      "{%0,%1,%2,%3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

__device__ inline void MmaBf16(Tile& d, const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, "
      "{%8,%9}, {%0,%1,%2,%3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

// n floats as tf32 pairs: hi is rounded to 11 bits, lo is the rest, of which the tensor core reads
// 11 bits; the product of two pairs without lo * lo is right to about 2^-22.
template <int n>
struct Pairs {
  uint32_t hi[n], lo[n];
  __device__ void Set(int i, float v) {
    hi[i] = (__float_as_uint(v) + 0x1000u) & 0xffffe000u;
    lo[i] = __float_as_uint(v - __uint_as_float(hi[i]));
  }
};

// sum[i] += a b[i]; in the order that keeps products of one sum apart.
template <int n>
__device__ void MmaPairs(Tile* sum, const Pairs<4>& a, const Pairs<2> (&b)[n]) {
#pragma unroll
  for (int i = 0; i < n; ++i) MmaTf32(sum[i], a.lo, b[i].hi);
#pragma unroll
  for (int i = 0; i < n; ++i) MmaTf32(sum[i], a.hi, b[i].lo);
#pragma unroll
  for (int i = 0; i < n; ++i) MmaTf32(sum[i], a.hi, b[i].hi);
}

// Four 8 x 8 matrices of bf16; thread 8 i + r gives the address of row r of matrix i.
__device__ inline void LoadMatrices(uint32_t (&to)[4], const __nv_bfloat16* row) {
  const auto at = static_cast<uint32_t>(__cvta_generic_to_shared(row));
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
               : "r"(at)
               : "memory");
}
__device__ inline void LoadTransposed(uint32_t (&to)[4], const __nv_bfloat16* row) {
  const auto at = static_cast<uint32_t>(__cvta_generic_to_shared(row));
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
               : "r"(at)
               : "memory");
}

// Copies `bytes` (4, 8 or 16) to shared memory, or zeros where not `real`; `from` is always
// readable.
template <int bytes>
__device__ void CopyAsync(void* to, const void* from, bool real) {
  const auto at = static_cast<uint32_t>(__cvta_generic_to_shared(to));
  const int size = real ? bytes : 0;
  if constexpr (bytes == 16) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(at), "l"(from), "r"(size)
                 : "memory");
  } else {
    asm volatile("cp.async.ca.shared.global [%0], [%1], %3, %2;" ::"r"(at), "l"(from), "r"(size),
                 "n"(bytes)
                 : "memory");
  }
}
__device__ inline void CommitCopies() { asm volatile("cp.async.commit_group;" ::: "memory"); }
// Until at most `pending` of the latest groups are still on their way.
template <int pending>
__device__ void WaitForCopies() {
  asm volatile("cp.async.wait_group %0;" ::"n"(pending) : "memory");
}

}  // namespace xst::kernels::cuda::sequence
