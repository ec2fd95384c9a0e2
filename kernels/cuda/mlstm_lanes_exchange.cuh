// What mlstm_lanes_cluster.cuh is given, where it keeps things, and how sums meet: over a warp, and
// over a cluster of blocks of threads.
#pragma once

#include "kernels/cuda/math.cuh"
#include "kernels/cuda/mlstm_core.cuh"

namespace xst::kernels::cuda {

struct MlstmWhole {
  MlstmCore core;
  AnyMatrix up, down;  // of one type
  const float *norm_weight, *norm_bias;
  float norm_offset, norm_eps;
  bool norm_center;
  uint32_t width;  // of x
  uint32_t slice;  // of it, that a head adds up and stores
  Slot x;
};

inline constexpr uint32_t kClusterHeadDim = 64, kClusterWidth = 128, kClusterThreads = 256;
inline constexpr uint32_t kMostClusterHeads = 8;

// Floats of shared memory, of one head: C as it comes and goes, weights of q, k, v, the gates, the
// output and the down projection, the values of each lane, and what the cluster sends.
struct MlstmClusterShared {
  uint32_t c, block, gate_weights, scale, shift, skip, down, az, conv, gate, qkv, parts, part_n, m,
      gates, s, gates_in, down_in, barriers, size;
  __host__ __device__ MlstmClusterShared(uint32_t lanes, uint32_t heads, uint32_t block_columns) {
    constexpr uint32_t d = kClusterHeadDim, kWarps = kClusterThreads / 32;
    c = 0;
    block = c + lanes * d * d;
    gate_weights = block + 3 * d * block_columns;
    scale = gate_weights + 2 * heads * 3 * d;
    shift = scale + d;
    skip = shift + d;
    down = skip + d;
    az = down + kClusterWidth * d;
    conv = az + lanes * 2 * d;
    gate = conv + lanes * d;
    qkv = gate + lanes * d;
    parts = qkv + lanes * 3 * d;
    part_n = parts + lanes * kWarps * d;
    m = part_n + lanes * 4;
    gates = m + 4 * lanes;
    s = gates + 4 * lanes;
    gates_in = s + lanes * d;
    down_in = gates_in + heads * lanes * 4;
    barriers = down_in + lanes * heads * kClusterWidth;
    size = barriers + 4;
  }
};

// Over the warp, side by side.
template <int kCount>
__device__ void SumEach(float (&v)[kCount]) {
#pragma unroll
  for (int d = 16; d > 0; d /= 2) {
    float other[kCount];
#pragma unroll
    for (int i = 0; i < kCount; ++i) other[i] = __shfl_xor_sync(0xffffffffu, v[i], d);
#pragma unroll
    for (int i = 0; i < kCount; ++i) v[i] += other[i];
  }
}

// Over the warp; of kCount sums (a power of two, at most 16) a thread is left with the one of
// number (its place in the warp) / (32 / kCount).
template <int kCount, int kHalf = kCount / 2>
__device__ float SumMany(float (&v)[kCount]) {
  constexpr int kDistance = kHalf * 32 / kCount;
  if constexpr (kHalf == 0) {
    return SumOver<32 / kCount>(v[0]);
  } else {
    const bool upper = (threadIdx.x & kDistance) != 0;
#pragma unroll
    for (int j = 0; j < kHalf; ++j) {
      const float own = upper ? v[j + kHalf] : v[j], other = upper ? v[j] : v[j + kHalf];
      v[j] = own + __shfl_xor_sync(0xffffffffu, other, kDistance);
    }
    return SumMany<kCount, kHalf / 2>(v);
  }
}

#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 900

// Exchanges within a cluster, each once a launch: numbers go to the same place in another block's
// shared memory, where a barrier an exchange counts the bytes that come. Unlike a barrier of the
// cluster this waits for no store to global memory.
class ClusterExchanges {
 public:
  __device__ ClusterExchanges(float* shared, uint32_t barriers)
      : shared_(shared), barriers_(barriers) {}

  // By one thread, for every exchange before Ready.
  __device__ void Open(uint32_t exchange, uint32_t bytes) const {
    const uint32_t barrier = BarrierOf(exchange);
    asm volatile("mbarrier.init.shared::cta.b64 [%0], 1;" ::"r"(barrier) : "memory");
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(barrier), "r"(bytes)
                 : "memory");
    asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
  }
  // All threads; Meet before the first Send: then all blocks are ready.
  __device__ static void Ready() {
    __syncwarp();
    asm volatile("barrier.cluster.arrive.relaxed.aligned;" ::: "memory");
  }
  __device__ static void Meet() {
    asm volatile("barrier.cluster.wait.acquire.aligned;" ::: "memory");
  }
  __device__ void Send(uint32_t exchange, uint32_t to, uint32_t at, float v) const {
    asm volatile("st.async.shared::cluster.mbarrier::complete_tx::bytes.b32 [%0], %1, [%2];" ::"r"(
                     In(to, Address(at))),
                 "r"(__float_as_uint(v)), "r"(In(to, BarrierOf(exchange)))
                 : "memory");
  }
  // Every number comes from a block that has started, and none of them waits for anything else.
  __device__ void Receive(uint32_t exchange) const {
    constexpr uint32_t kMostTries = 1u << 24;
    uint32_t done = 0;
    for (uint32_t i = 0; !done; ++i) {
      asm volatile(
          "{\n.reg .pred p;\nmbarrier.try_wait.parity.shared::cta.b64 p, [%1], 0;\n"
          "selp.u32 %0, 1, 0, p;\n}"
          : "=r"(done)
          : "r"(BarrierOf(exchange))
          : "memory");
      if (i > kMostTries) __trap();
    }
  }

  __device__ uint32_t Address(uint32_t at) const {
    return static_cast<uint32_t>(__cvta_generic_to_shared(shared_ + at));
  }

 private:
  __device__ uint32_t BarrierOf(uint32_t exchange) const {
    return Address(barriers_ + 2 * exchange);
  }
  __device__ static uint32_t In(uint32_t block, uint32_t address) {
    uint32_t there;
    asm("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(there) : "r"(address), "r"(block));
    return there;
  }

  float* const shared_;
  const uint32_t barriers_;
};

#endif

}  // namespace xst::kernels::cuda
