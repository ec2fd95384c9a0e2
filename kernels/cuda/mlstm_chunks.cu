// With b_t the sum of logsigmoid(f) over a chunk up to t, a_s = i_s - b_s, top_t = max(m_before,
// max over s <= t of a_s), m_t = b_t + top_t and scaled q:
//   num_t = exp(m_before - top_t) q_t C + sum over s <= t of exp(a_s - top_t) (q_t k_s) v_s
//         = [exp(m_before - top_t) q_t | P_t] [C; V]
//   C' = exp(m_before + b_last - m_last) C + sum over s of exp(a_s + b_last - m_last) k_s v_s^T
// so every exponent is at most 0. A product, its number a "pair": lane, head and chunk in that
// order.
#include "kernels/cuda/mlstm_chunks.h"

#include <algorithm>

#include "kernels/cuda/math.cuh"

namespace xst::kernels::cuda {
namespace {

using Half = __nv_bfloat16;
constexpr uint32_t kL = kLongChunk;
constexpr uint32_t kThreads = 256;
constexpr uint32_t kWarps = kThreads / 32;
constexpr uint32_t kLaneSteps = kL / 32;  // steps of a thread where a warp has a chunk

uint32_t Blocks(size_t n, size_t of) { return static_cast<uint32_t>((n + of - 1) / of); }

struct Shape {
  uint32_t heads, dk, dv, kp, vp, chunks, steps;
  __host__ __device__ uint32_t joined() const { return kp + kL; }  // columns of [q | P]
};

// Per step of every pair, [pair][kL], and per pair.
struct Weights {
  float *a, *top, *before, *floor, *last;
  float* decay;  // what C from before weighs at the end of the chunk
};

// One block a head and lane.
__global__ void __launch_bounds__(kThreads)
    GatesKernel(const __grid_constant__ MlstmCell o, const __grid_constant__ Sequence<float> s,
                Shape shape, Weights w) {
  extern __shared__ double chunk_data[];  // [chunks] of b_last, largest a, m_before, m_last
  double* b_last = chunk_data;
  double* a_most = b_last + shape.chunks;
  double* m_before = a_most + shape.chunks;
  double* m_last = m_before + shape.chunks;
  const uint32_t lane = blockIdx.x / shape.heads, head = blockIdx.x % shape.heads;
  const uint32_t warp = threadIdx.x / 32, thread = threadIdx.x % 32;
  float* m_state = s.state.data + lane * s.state.stride + o.m + head;
  const float* gates =
      s.tokens.data + size_t{lane} * shape.steps * s.tokens.stride + o.gates + head;
  const size_t first_pair = size_t{blockIdx.x} * shape.chunks;
  // The parts of b, a and top that do not depend on m_before, then the rest.
  for (uint32_t pass = 0; pass < 2; ++pass) {
    for (uint32_t chunk = warp; chunk < shape.chunks; chunk += kWarps) {
      double b[kLaneSteps], a[kLaneSteps], top[kLaneSteps];
      double sum = 0;
#pragma unroll
      for (uint32_t e = 0; e < kLaneSteps; ++e) {
        const uint32_t t = chunk * kL + thread * kLaneSteps + e;
        const bool real = t < shape.steps;
        float i = real ? gates[t * s.tokens.stride] : 0;
        float f = real ? gates[t * s.tokens.stride + o.heads] : 0;
        if (o.gate_cap > 0) {
          i = o.gate_cap * tanhf(i / o.gate_cap);
          f = o.gate_cap * tanhf(f / o.gate_cap);
        }
        if (real) sum += LogSigmoid(f);
        b[e] = sum;
        a[e] = real ? i : -HUGE_VAL;
      }
      double scan = sum;
#pragma unroll
      for (int d = 1; d < 32; d *= 2) {
        const double up = __shfl_up_sync(0xffffffffu, scan, d);
        if (thread >= d) scan += up;
      }
      const double earlier = __shfl_up_sync(0xffffffffu, scan, 1);
      double most = -HUGE_VAL;
#pragma unroll
      for (uint32_t e = 0; e < kLaneSteps; ++e) {
        if (thread > 0) b[e] += earlier;
        a[e] -= b[e];
        most = fmax(most, a[e]);
        top[e] = most;
      }
#pragma unroll
      for (int d = 1; d < 32; d *= 2) {
        const double up = __shfl_up_sync(0xffffffffu, most, d);
        if (thread >= d) most = fmax(most, up);
      }
      const double above = __shfl_up_sync(0xffffffffu, most, 1);
      const double total = __shfl_sync(0xffffffffu, scan, 31);
      if (pass == 0) {
        if (thread == 31) {
          b_last[chunk] = total;
          a_most[chunk] = most;
        }
        continue;
      }
      const size_t at = (first_pair + chunk) * kL + thread * kLaneSteps;
#pragma unroll
      for (uint32_t e = 0; e < kLaneSteps; ++e) {
        if (thread > 0) top[e] = fmax(top[e], above);
        top[e] = fmax(top[e], m_before[chunk]);
        w.a[at + e] = static_cast<float>(a[e]);
        w.top[at + e] = static_cast<float>(top[e]);
        w.before[at + e] = expf(static_cast<float>(m_before[chunk] - top[e]));
        w.floor[at + e] = expf(-static_cast<float>(b[e] + top[e]));
        w.last[at + e] = expf(static_cast<float>(a[e] + (total - m_last[chunk])));
      }
      if (thread == 0) {
        w.decay[first_pair + chunk] =
            expf(static_cast<float>(m_before[chunk] + (total - m_last[chunk])));
      }
    }
    __syncthreads();
    if (pass == 0 && threadIdx.x == 0) {
      float m = *m_state;
      for (uint32_t chunk = 0; chunk < shape.chunks; ++chunk) {
        m_before[chunk] = m;
        m = static_cast<float>(b_last[chunk] + fmax(double{m}, a_most[chunk]));
        m_last[chunk] = m;
      }
      *m_state = m;
    }
    __syncthreads();
  }
}

struct Packed {
  Half *q, *k, *weighted_k;  // [pair][kL][kp]
  Half* joined;              // [pair][kL][kp + kL]: exp(m_before - top) q, P
  Half* cv;                  // [pair][kp + kL][vp]: C, V
};

// q, k and v of a token by head, as bf16; kVector neighbours at once. Padding and missing steps: 0.
template <int kVector>
__global__ void __launch_bounds__(kThreads)
    PackKernel(const __grid_constant__ MlstmCell o, const __grid_constant__ Sequence<float> s,
               Shape shape, Weights w, Packed p) {
  struct alignas(4 * kVector) In {
    float e[kVector];
  };
  struct alignas(2 * kVector) Out {
    Half e[kVector];
  };
  const uint32_t step = blockIdx.x, lane = blockIdx.y, chunk = step / kL, t = step % kL;
  const bool real = step < shape.steps;
  const float* token =
      s.tokens.data + (size_t{lane} * shape.steps + (real ? step : 0)) * s.tokens.stride;
  const float root = 1 / sqrtf(static_cast<float>(shape.dk));
  const float q_scale = o.scale_key ? 1 : root, k_scale = o.scale_key ? root : 1;
  for (uint32_t c = threadIdx.x * kVector; c < shape.heads * shape.kp; c += kThreads * kVector) {
    const uint32_t head = c / shape.kp, d = c % shape.kp;
    const size_t pair = (size_t{lane} * shape.heads + head) * shape.chunks + chunk;
    const float before = w.before[pair * kL + t], last = w.last[pair * kL + t];
    In q = {}, k = {};
    if (real && d < shape.dk) {
      q = *reinterpret_cast<const In*>(token + o.q + head * shape.dk + d);
      k = *reinterpret_cast<const In*>(token + o.k + head * shape.dk + d);
    }
    Out plain_q, plain_k, weighted_k, joined;
#pragma unroll
    for (int e = 0; e < kVector; ++e) {
      plain_q.e[e] = __float2bfloat16_rn(q.e[e] * q_scale);
      plain_k.e[e] = __float2bfloat16_rn(k.e[e] * k_scale);
      weighted_k.e[e] = __float2bfloat16_rn(k.e[e] * k_scale * last);
      joined.e[e] = __float2bfloat16_rn(q.e[e] * q_scale * before);
    }
    const size_t at = (pair * kL + t) * shape.kp + d;
    *reinterpret_cast<Out*>(p.q + at) = plain_q;
    *reinterpret_cast<Out*>(p.k + at) = plain_k;
    *reinterpret_cast<Out*>(p.weighted_k + at) = weighted_k;
    *reinterpret_cast<Out*>(p.joined + (pair * kL + t) * shape.joined() + d) = joined;
  }
  for (uint32_t c = threadIdx.x * kVector; c < shape.heads * shape.vp; c += kThreads * kVector) {
    const uint32_t head = c / shape.vp, d = c % shape.vp;
    const size_t pair = (size_t{lane} * shape.heads + head) * shape.chunks + chunk;
    In v = {};
    if (real && d < shape.dv) {
      v = *reinterpret_cast<const In*>(token + o.v + head * shape.dv + d);
    }
    Out out;
#pragma unroll
    for (int e = 0; e < kVector; ++e) out.e[e] = __float2bfloat16_rn(v.e[e]);
    *reinterpret_cast<Out*>(p.cv + (pair * shape.joined() + shape.kp + t) * shape.vp + d) = out;
  }
}

// What n gains in a chunk, from the very keys that C gains.
__global__ void __launch_bounds__(kThreads) KeySumKernel(Shape shape, const Half* k, float* sums) {
  const size_t pair = blockIdx.x;
  for (uint32_t d = threadIdx.x; d < shape.kp; d += kThreads) {
    const Half* from = k + pair * kL * shape.kp + d;
    float sum = 0;
#pragma unroll 16
    for (uint32_t t = 0; t < kL; ++t) sum += __bfloat162float(from[size_t{t} * shape.kp]);
    sums[pair * shape.kp + d] = sum;
  }
}

// C before every chunk from what the chunks add, 4 columns a thread; the same for n, into n_before.
__global__ void __launch_bounds__(kThreads)
    ScanKernel(const __grid_constant__ MlstmCell o, const __grid_constant__ Sequence<float> s,
               Shape shape, Weights w, const float* gain, Packed p, const float* n_gain,
               float* n_before) {
  const uint32_t lane = blockIdx.y / shape.heads, head = blockIdx.y % shape.heads;
  float* frame = s.state.data + lane * s.state.stride;
  const size_t first_pair = size_t{blockIdx.y} * shape.chunks;
  const uint32_t quads = shape.kp * (shape.vp / 4);
  const uint32_t i = blockIdx.x * kThreads + threadIdx.x;
  if (i < quads) {
    const uint32_t d = i / (shape.vp / 4), col = i % (shape.vp / 4) * 4;
    float* state = frame + o.c + (size_t{head} * shape.dk + d) * o.stride_c + col;
    float c[4];
#pragma unroll
    for (uint32_t e = 0; e < 4; ++e) c[e] = d < shape.dk && col + e < shape.dv ? state[e] : 0;
#pragma unroll 4
    for (uint32_t chunk = 0; chunk < shape.chunks; ++chunk) {
      const size_t pair = first_pair + chunk;
      const float4 g =
          *reinterpret_cast<const float4*>(gain + (pair * shape.kp + d) * shape.vp + col);
      const __nv_bfloat162 pairs[2] = {__floats2bfloat162_rn(c[0], c[1]),
                                       __floats2bfloat162_rn(c[2], c[3])};
      *reinterpret_cast<uint2*>(p.cv + (pair * shape.joined() + d) * shape.vp + col) =
          *reinterpret_cast<const uint2*>(pairs);
      const float decay = w.decay[pair];
      c[0] = MulAdd(decay, c[0], g.x);
      c[1] = MulAdd(decay, c[1], g.y);
      c[2] = MulAdd(decay, c[2], g.z);
      c[3] = MulAdd(decay, c[3], g.w);
    }
#pragma unroll
    for (uint32_t e = 0; e < 4; ++e) {
      if (d < shape.dk && col + e < shape.dv) state[e] = c[e];
    }
  }
  if (blockIdx.x > 0) return;
  for (uint32_t d = threadIdx.x; d < shape.kp; d += kThreads) {
    float* state = frame + o.n + head * o.stride_n + d;
    float n = d < shape.dk ? *state : 0;
#pragma unroll 4
    for (uint32_t chunk = 0; chunk < shape.chunks; ++chunk) {
      const size_t pair = first_pair + chunk;
      n_before[pair * shape.kp + d] = n;
      n = MulAdd(w.decay[pair], n, n_gain[pair * shape.kp + d]);
    }
    if (d < shape.dk) *state = n;
  }
}

// P and the denominators, a warp a step.
__global__ void __launch_bounds__(kThreads)
    ScoresKernel(float eps, Shape shape, Weights w, const float* scores, const float* n_before,
                 Packed p, float* den) {
  const size_t row = size_t{blockIdx.x} * kWarps + threadIdx.x / 32;  // pair * kL + t
  const size_t pair = row / kL;
  const uint32_t t = row % kL, thread = threadIdx.x % 32;
  const float top = w.top[row];
  Half* out = p.joined + row * shape.joined() + shape.kp;
  float sum = 0;
#pragma unroll
  for (uint32_t e = 0; e < kLaneSteps; ++e) {
    const uint32_t s = thread + 32 * e;
    const float v = s <= t ? expf(w.a[pair * kL + s] - top) * scores[row * kL + s] : 0;
    sum += v;
    out[s] = __float2bfloat16_rn(v);
  }
  float dot = 0;
  for (uint32_t d = thread; d < shape.kp; d += 32) {
    dot = MulAdd(__bfloat162float(p.q[row * shape.kp + d]), n_before[pair * shape.kp + d], dot);
  }
  sum = SumOver<32>(MulAdd(w.before[row], dot, sum));
  if (thread == 0) den[row] = fmaxf(fabsf(sum), w.floor[row]) + eps;
}

}  // namespace

struct MlstmChunks::Memory {
  Weights weights;
  Packed packed;
  float *scores, *gain, *n_gain, *n_before, *num, *den;
  size_t bytes;
};

MlstmChunks::MlstmChunks(const MlstmCell& o, uint32_t lanes, uint32_t steps)
    : heads_(o.heads),
      dk_(o.dk),
      dv_(o.dv),
      lanes_(lanes),
      chunks_(ChunksOf(steps)),
      kp_((o.dk + 7) / 8 * 8),
      vp_((o.dv + 7) / 8 * 8) {}

uint32_t MlstmChunks::ChunksOf(uint32_t steps) const {
  uint32_t n = 1;
  while (n * kL < steps) n *= 2;
  return n;
}

MlstmChunks::Memory MlstmChunks::Arrays(void* workspace) const {
  Memory m = {};
  auto* base = static_cast<uint8_t*>(workspace);
  const auto take = [&]<class T>(T** p, size_t count) {
    *p = reinterpret_cast<T*>(base ? base + m.bytes : nullptr);
    m.bytes += (count * sizeof(T) + 255) / 256 * 256;
  };
  const size_t pairs = size_t{lanes_} * heads_ * chunks_, rows = pairs * kL;
  const size_t joined = kp_ + kL;
  Weights& w = m.weights;
  for (float** p : {&w.a, &w.top, &w.before, &w.floor, &w.last, &m.den}) take(p, rows);
  take(&w.decay, pairs);
  for (Half** p : {&m.packed.q, &m.packed.k, &m.packed.weighted_k}) take(p, rows * kp_);
  take(&m.packed.joined, rows * joined);
  take(&m.packed.cv, pairs * joined * vp_);
  take(&m.scores, rows * kL);
  take(&m.gain, pairs * kp_ * vp_);
  take(&m.n_gain, pairs * kp_);
  take(&m.n_before, pairs * kp_);
  take(&m.num, rows * vp_);
  return m;
}

size_t MlstmChunks::workspace_bytes() const { return Arrays(nullptr).bytes; }

MlstmChunks::Products MlstmChunks::ProductsOf(uint32_t chunks) const {
  const size_t joined = kp_ + kL, kp = kp_, vp = vp_;
  Products p;
  p.scores = {.rows = kL,
              .columns = kp_,
              .tokens = kL,
              .ld_w = kp,
              .ld_x = kp,
              .ld_d = kL,
              .bf16_out = false,
              .accumulate = false,
              .w_by_columns = false,
              .x_by_columns = false,
              .batch = lanes_ * heads_ * chunks,
              .batch_w = kL * kp,
              .batch_x = kL * kp,
              .batch_d = kL * kL};
  p.states = p.scores;
  p.states.rows = vp_, p.states.columns = kL, p.states.tokens = kp_;
  p.states.ld_w = vp, p.states.ld_x = kp, p.states.ld_d = vp;
  p.states.w_by_columns = p.states.x_by_columns = true;
  p.states.batch_w = joined * vp, p.states.batch_x = kL * kp, p.states.batch_d = kp * vp;
  p.outputs = p.scores;
  p.outputs.rows = vp_, p.outputs.columns = kp_ + kL, p.outputs.tokens = kL;
  p.outputs.ld_w = vp, p.outputs.ld_x = joined, p.outputs.ld_d = vp;
  p.outputs.w_by_columns = true;
  p.outputs.batch_w = joined * vp, p.outputs.batch_x = kL * joined, p.outputs.batch_d = kL * vp;
  return p;
}

cudaError_t MlstmChunks::Prepare(Bf16Gemms* gemms) const {
  for (uint32_t chunks = 1; chunks <= chunks_; chunks *= 2) {
    const Products p = ProductsOf(chunks);
    for (const GemmShape& s : {p.scores, p.states, p.outputs}) {
      if (const cudaError_t e = gemms->Prepare(s)) return e;
    }
  }
  return cudaSuccess;
}

cudaError_t MlstmChunks::Tune(Bf16Gemms* gemms, void* gemm_workspace, void* workspace,
                              cudaStream_t stream) const {
  const Memory m = Arrays(workspace);
  const Products p = ProductsOf(chunks_);
  const Half* v = m.packed.cv + size_t{kp_} * vp_;
  cudaError_t e = gemms->Tune(p.states, v, m.packed.weighted_k, m.gain, gemm_workspace, stream);
  if (e == cudaSuccess) {
    e = gemms->Tune(p.scores, m.packed.k, m.packed.q, m.scores, gemm_workspace, stream);
  }
  if (e == cudaSuccess) {
    e = gemms->Tune(p.outputs, m.packed.cv, m.packed.joined, m.num, gemm_workspace, stream);
  }
  return e;
}

cudaError_t MlstmChunks::Run(const MlstmCell& o, const Sequence<float>& s, const Bf16Gemms& gemms,
                             void* gemm_workspace, void* workspace, HeadRows* h,
                             cudaStream_t stream) const {
  const uint32_t chunks = ChunksOf(s.steps);
  if (chunks > chunks_ || s.state.lanes != lanes_) return cudaErrorInvalidValue;
  const Memory m = Arrays(workspace);
  const Products products = ProductsOf(chunks);
  const Shape shape{heads_, dk_, dv_, kp_, vp_, chunks, s.steps};
  const uint32_t pairs = lanes_ * heads_ * chunks;
  const bool vector = dk_ % 4 == 0 && dv_ % 4 == 0 && o.q % 4 == 0 && o.k % 4 == 0 &&
                      o.v % 4 == 0 && s.tokens.stride % 4 == 0 &&
                      reinterpret_cast<uintptr_t>(s.tokens.data) % 16 == 0;
  GatesKernel<<<lanes_ * heads_, kThreads, 4 * chunks * sizeof(double), stream>>>(o, s, shape,
                                                                                  m.weights);
  const dim3 tokens(chunks * kL, lanes_);
  if (vector) {
    PackKernel<4><<<tokens, kThreads, 0, stream>>>(o, s, shape, m.weights, m.packed);
  } else {
    PackKernel<1><<<tokens, kThreads, 0, stream>>>(o, s, shape, m.weights, m.packed);
  }
  KeySumKernel<<<pairs, kThreads, 0, stream>>>(shape, m.packed.weighted_k, m.n_gain);
  if (const cudaError_t e = cudaGetLastError()) return e;
  const Half* v = m.packed.cv + size_t{kp_} * vp_;
  if (const cudaError_t e =
          gemms.Run(products.states, v, m.packed.weighted_k, m.gain, gemm_workspace, stream)) {
    return e;
  }
  ScanKernel<<<dim3(Blocks(size_t{kp_} * vp_ / 4, kThreads), lanes_ * heads_), kThreads, 0,
               stream>>>(o, s, shape, m.weights, m.gain, m.packed, m.n_gain, m.n_before);
  if (const cudaError_t e = cudaGetLastError()) return e;
  if (const cudaError_t e =
          gemms.Run(products.scores, m.packed.k, m.packed.q, m.scores, gemm_workspace, stream)) {
    return e;
  }
  ScoresKernel<<<pairs * kL / kWarps, kThreads, 0, stream>>>(o.eps, shape, m.weights, m.scores,
                                                             m.n_before, m.packed, m.den);
  if (const cudaError_t e = cudaGetLastError()) return e;
  if (const cudaError_t e = gemms.Run(products.outputs, m.packed.cv, m.packed.joined, m.num,
                                      gemm_workspace, stream)) {
    return e;
  }
  const size_t steps = size_t{chunks} * kL;
  *h = {m.num, m.den, vp_, steps * vp_, heads_ * steps * vp_, 1, steps, heads_ * steps};
  return cudaSuccess;
}

}  // namespace xst::kernels::cuda
