// A CTA's slice of the weights and state: from global memory at the kernel's start, the state back
// at its end.
#pragma once

#include "kernels/cuda/on_chip_cta.cuh"

namespace xst::kernels::cuda {

// f(element in shared memory, index in the frame, whether this CTA is the one that saves it).
template <class Real, class W, class E, class P>
template <class F>
__device__ void Cta<Real, W, E, P>::EachState(const F& f) {
  const auto& s = S();
  const auto each = [](uint32_t n, const auto& body) {
    for (uint32_t i = threadIdx.x; i < n; i += kThreads) body(i);
  };
  const uint32_t dim4 = OnChipShape::Pad4(s.dim);
  Rewind();
  for (uint32_t b = 0; b < s.blocks; ++b) {
    const OnChipSlots& slots = args_.slots[b];
    if (s.slstm >> b & 1) {
      Real* y = State(s.ss.y + parity_ * s.ss.y_parity);
      each(s.width, [&](uint32_t i) { f(&y[i], slots.y + i, i >= row_ && i < row_ + RowCount()); });
      each(RowCount(), [&](uint32_t i) {
        f(&State(s.ss.c)[i], slots.c + row_ + i, true);
        if (s.lstm) return;
        f(&State(s.ss.n)[i], slots.n + row_ + i, true);
        f(&State(s.ss.m)[i], slots.m + row_ + i, true);
      });
      const uint32_t past = s.s_kernel > 1 ? s.s_kernel - 1 : 0;
      each(conv_count_ * past, [&](uint32_t i) {
        const uint32_t j = i / conv_count_, of = i % conv_count_, channel = conv_begin_ + of;
        f(&State(s.ss.history)[of * past + j], slots.history + j * args_.s_stride_history + channel,
          channel >= row_ && channel < row_ + RowCount());
      });
      block_ += s.s.bytes;
      state_ += s.ss.bytes;
    } else {
      each(Channels() * s.dim, [&](uint32_t i) {
        const uint32_t of = i % Channels(), key = i / Channels(), channel = first_ + of;
        f(&State(s.ms.c)[size_t{of} * dim4 + key],
          slots.c + (channel / s.dim * s.dim + key) * args_.stride_c + channel % s.dim, true);
      });
      Real* n = State(s.ms.n + parity_ * s.ms.n_parity);
      Real* m = State(s.ms.m + parity_ * s.ms.m_parity);
      const auto saves = [&](uint32_t head) { return head * s.dim >= first_; };
      each(heads_ * s.dim, [&](uint32_t i) {
        const uint32_t head = head_begin_ + i / s.dim, key = i % s.dim;
        f(&n[i / s.dim * dim4 + key], slots.n + head * args_.stride_n + key, saves(head));
      });
      each(heads_,
           [&](uint32_t i) { f(&m[i], slots.m + head_begin_ + i, saves(head_begin_ + i)); });
      const uint32_t past = s.kernel > 1 ? s.kernel - 1 : 0;
      each(Channels() * past, [&](uint32_t i) {
        const uint32_t j = i / Channels(), of = i % Channels();
        f(&State(s.ms.history)[of * past + j],
          slots.history + j * args_.stride_history + first_ + of, true);
      });
      block_ += s.m.bytes;
      state_ += s.ms.bytes;
    }
  }
}

// A copy to shared memory that is under way until CopiesDone.
template <uint32_t kBytes>
__device__ __forceinline__ void StartCopy(void* to, const void* from) {
  asm volatile("cp.async.ca.shared.global [%0], [%1], %2;" ::"r"(
                   static_cast<uint32_t>(__cvta_generic_to_shared(to))),
               "l"(from), "n"(kBytes)
               : "memory");
}
__device__ __forceinline__ void CopiesDone() { asm volatile("cp.async.wait_all;" ::: "memory"); }

template <class Real, class W, class E, class P>
__device__ void Cta<Real, W, E, P>::Load() {
  const auto& s = S();
  const uint8_t* image = args_.image + size_t{rank_} * s.image;
  for (uint32_t i = 16 * threadIdx.x; i < s.image; i += 16 * kThreads) {
    StartCopy<16>(sm_ + s.image_at + i, image + i);
  }
  for (uint32_t i = 16 * threadIdx.x; i < s.bytes; i += 16 * kThreads) {
    if (i >= s.image_at && i < s.image_at + s.image) continue;
    *reinterpret_cast<uint4*>(sm_ + i) = make_uint4(0, 0, 0, 0);
  }
  __syncthreads();
  EachState(
      [&](Real* here, uint32_t at, bool) { StartCopy<sizeof(Real)>(here, args_.frame + at); });
  CopiesDone();
}

template <class Real, class W, class E, class P>
__device__ void Cta<Real, W, E, P>::Save() {
  __syncthreads();
  EachState([&](Real* here, uint32_t at, bool mine) {
    if (mine) args_.frame[at] = *here;
  });
}

}  // namespace xst::kernels::cuda
