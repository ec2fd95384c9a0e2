// How the CTAs that share one stream hand numbers to each other.
//
// Send puts a number into another CTA's memory, at the same offset as in one's own; Close says that
// this CTA has sent everything that belongs to the exchange; Wait returns when everything that this
// CTA is to receive has come. Between two uses of one exchange every CTA passes a __syncthreads and
// waits for another exchange that needs every thread which read the first: so one buffer is enough.
// Every wait is bounded: after `timeout` ns it gives up for good (ok() is false from then on, and
// what follows computes rubbish, but ends).
#pragma once

#include <cuda_runtime.h>

#include "kernels/cuda/on_chip.h"

namespace xst::kernels::cuda {

__device__ __forceinline__ uint64_t Nanoseconds() {
  uint64_t t;
  asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(t));
  return t;
}

// A cluster: st.async into the other's shared memory; an mbarrier per exchange counts the bytes.
class ClusterExchange {
 public:
  static constexpr bool kCluster = true;

  __device__ ClusterExchange(const ExchangeArgs& args, uint8_t* shared, uint32_t barriers)
      : base_(static_cast<uint32_t>(__cvta_generic_to_shared(shared))),
        barriers_(barriers),
        timeout_(args.timeout) {}

  // Before the first Send; all threads. `expect`: bytes this CTA receives in each exchange.
  __device__ void Open(const uint32_t* expect) {
    if (threadIdx.x == 0) {
#pragma unroll
      for (uint32_t e = 0; e < kExchanges; ++e) {
        asm volatile("mbarrier.init.shared::cta.b64 [%0], 1;" ::"r"(Barrier(e)) : "memory");
      }
      asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
#pragma unroll
      for (uint32_t e = 0; e < kExchanges; ++e) {
        if (expect[e]) Arm(e, expect[e]);
      }
    }
    Meet();
  }
  // All threads of all CTAs.
  __device__ void Meet() {
    asm volatile("barrier.cluster.arrive.release.aligned;\nbarrier.cluster.wait.acquire.aligned;" ::
                     : "memory");
  }

  __device__ __forceinline__ void Send(uint32_t e, uint32_t to, uint32_t offset, float v) {
    const uint32_t other = Of(to);
    asm volatile("st.async.shared::cluster.mbarrier::complete_tx::bytes.b32 [%0], %1, [%2];" ::"r"(
                     other + offset),
                 "r"(__float_as_uint(v)), "r"(other + barriers_ + 8 * e)
                 : "memory");
  }
  __device__ __forceinline__ void Send(uint32_t e, uint32_t to, uint32_t offset, double v) {
    const uint32_t other = Of(to);
    asm volatile("st.async.shared::cluster.mbarrier::complete_tx::bytes.b64 [%0], %1, [%2];" ::"r"(
                     other + offset),
                 "l"(__double_as_longlong(v)), "r"(other + barriers_ + 8 * e)
                 : "memory");
  }
  // Four at a 16-byte boundary.
  __device__ __forceinline__ void Send4(uint32_t e, uint32_t to, uint32_t offset, float4 v) {
    const uint32_t other = Of(to);
    asm volatile(
        "st.async.shared::cluster.mbarrier::complete_tx::bytes.v4.b32 [%0], {%1, %2, %3, %4}, "
        "[%5];" ::"r"(other + offset),
        "r"(__float_as_uint(v.x)), "r"(__float_as_uint(v.y)), "r"(__float_as_uint(v.z)),
        "r"(__float_as_uint(v.w)), "r"(other + barriers_ + 8 * e)
        : "memory");
  }

  __device__ __forceinline__ void Close(uint32_t) {}

  // `bytes` at `offset` are what comes, and `expect` how many of them are counted.
  __device__ __forceinline__ void Wait(uint32_t e, uint32_t, uint32_t, uint32_t expect) {
    if (expect == 0) return;
    Await(e);
    Rearm(e, expect);
  }
  // The two halves of Wait: the second may wait until there is time for it.
  __device__ __forceinline__ void Await(uint32_t e) {
    const uint32_t parity = phases_ >> e & 1;
    phases_ ^= 1u << e;
    if (!ok_) return;
    if (!Try(Barrier(e), parity)) ok_ = WaitLong(Barrier(e), parity, timeout_);
  }
  __device__ __forceinline__ void Rearm(uint32_t e, uint32_t expect) {
    if (ok_ && threadIdx.x == 0) Arm(e, expect);
  }

  __device__ bool ok() const { return ok_; }
  __device__ void SetTimeout(uint64_t ns) { timeout_ = ns; }

 private:
  __device__ __forceinline__ uint32_t Barrier(uint32_t e) const {
    return base_ + barriers_ + 8 * e;
  }
  // Where CTA `to` has what this one has at base_.
  __device__ __forceinline__ uint32_t Of(uint32_t to) const {
    uint32_t other;
    asm("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(other) : "r"(base_), "r"(to));
    return other;
  }
  __device__ __forceinline__ void Arm(uint32_t e, uint32_t bytes) {
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(Barrier(e)),
                 "r"(bytes)
                 : "memory");
  }
  static __device__ __forceinline__ bool Try(uint32_t barrier, uint32_t parity) {
    uint32_t done;
    asm volatile(
        "{\n.reg .pred p;\nmbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2;\n"
        "selp.u32 %0, 1, 0, p;\n}"
        : "=r"(done)
        : "r"(barrier), "r"(parity)
        : "memory");
    return done;
  }
  static __device__ __noinline__ bool WaitLong(uint32_t barrier, uint32_t parity,
                                               uint64_t timeout) {
    // Most waits end before a look at the clock would.
    for (int i = 0; i < 100; ++i) {
      if (Try(barrier, parity)) return true;
    }
    const uint64_t start = Nanoseconds();
    while (!Try(barrier, parity)) {
      if (Nanoseconds() - start > timeout) return false;
    }
    return true;
  }

  uint32_t base_, barriers_;
  uint32_t phases_ = 0;  // bit e: parity of the next wait
  bool ok_ = true;
  uint64_t timeout_;
};

// A cooperative grid: every CTA has a mirror of its shared memory in global memory.
class GridExchange {
 public:
  static constexpr bool kCluster = false;

  __device__ GridExchange(const ExchangeArgs& args, uint8_t* shared, uint32_t)
      : args_(args), shared_(shared) {}

  __device__ void Open(const uint32_t*) { __syncthreads(); }
  __device__ void Meet() {
    Close(0);
    Epochs();
  }
  template <class T>
  __device__ __forceinline__ void Send(uint32_t, uint32_t to, uint32_t offset, T v) {
    __stcg(reinterpret_cast<T*>(args_.mirror + size_t{to} * args_.mirror_stride + offset), v);
  }
  __device__ __forceinline__ void Send4(uint32_t e, uint32_t to, uint32_t offset, float4 v) {
    Send(e, to, offset, v);
  }
  __device__ void Close(uint32_t) {
    __syncthreads();
    ++epoch_;
    if (threadIdx.x == 0) {
      __threadfence();
      asm volatile("st.release.gpu.u32 [%0], %1;" ::"l"(args_.epochs + blockIdx.x), "r"(epoch_)
                   : "memory");
    }
  }
  __device__ void Wait(uint32_t, uint32_t offset, uint32_t bytes, uint32_t) {
    Epochs();
    const uint8_t* from = args_.mirror + size_t{blockIdx.x} * args_.mirror_stride;
    for (uint32_t i = 4 * threadIdx.x; i < bytes; i += 4 * blockDim.x) {
      *reinterpret_cast<uint32_t*>(shared_ + offset + i) =
          __ldcg(reinterpret_cast<const uint32_t*>(from + offset + i));
    }
    __syncthreads();
  }
  __device__ bool ok() const { return ok_; }
  __device__ void SetTimeout(uint64_t ns) { args_.timeout = ns; }

 private:
  __device__ void Epochs() {
    if (ok_ && threadIdx.x < gridDim.x) {
      const uint64_t start = Nanoseconds();
      uint32_t at;
      do {
        asm volatile("ld.acquire.gpu.u32 %0, [%1];"
                     : "=r"(at)
                     : "l"(args_.epochs + threadIdx.x)
                     : "memory");
        if (at >= epoch_) break;
        if (Nanoseconds() - start > args_.timeout) ok_ = false;
      } while (ok_);
    }
    __syncthreads();
  }

  ExchangeArgs args_;
  uint8_t* shared_;
  uint32_t epoch_ = 0;
  bool ok_ = true;
};

// One CTA.
class NoExchange {
 public:
  static constexpr bool kCluster = false;

  __device__ NoExchange(const ExchangeArgs&, uint8_t* shared, uint32_t) : shared_(shared) {}
  __device__ void Open(const uint32_t*) { __syncthreads(); }
  __device__ void Meet() { __syncthreads(); }
  template <class T>
  __device__ __forceinline__ void Send(uint32_t, uint32_t, uint32_t offset, T v) {
    *reinterpret_cast<T*>(shared_ + offset) = v;
  }
  __device__ __forceinline__ void Send4(uint32_t e, uint32_t to, uint32_t offset, float4 v) {
    Send(e, to, offset, v);
  }
  __device__ void Close(uint32_t) {}
  __device__ void Wait(uint32_t, uint32_t, uint32_t, uint32_t) { __syncthreads(); }
  __device__ bool ok() const { return true; }
  __device__ void SetTimeout(uint64_t) {}

 private:
  uint8_t* shared_;
};

}  // namespace xst::kernels::cuda
