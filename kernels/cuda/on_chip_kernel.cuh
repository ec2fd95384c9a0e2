// The kernel: steps from buffers in device memory, or from a mailbox until it is time to leave.
#pragma once

#include "kernels/cuda/on_chip_fixed.h"
#include "kernels/cuda/on_chip_fixed_slstm.cuh"
#include "kernels/cuda/on_chip_mlstm.cuh"
#include "kernels/cuda/on_chip_slstm.cuh"
#include "kernels/cuda/on_chip_state.cuh"

namespace xst::kernels::cuda {

__device__ __forceinline__ uint64_t LoadWord(const uint64_t* p) {
  uint64_t v;
  asm volatile("ld.relaxed.sys.global.u64 %0, [%1];" : "=l"(v) : "l"(p) : "memory");
  return v;
}
__device__ __forceinline__ void StoreWord(uint64_t* p, uint64_t v) {
  asm volatile("st.relaxed.sys.global.u64 [%0], %1;" ::"l"(p), "l"(v) : "memory");
}
__device__ __forceinline__ void PutReply(uint64_t* words, uint32_t i, uint32_t sequence, float v) {
  StoreWord(words + i, uint64_t{sequence} << 32 | __float_as_uint(v));
}
__device__ __forceinline__ void PutReply(uint64_t* words, uint32_t i, uint32_t sequence, double v) {
  const auto bits = static_cast<uint64_t>(__double_as_longlong(v));
  StoreWord(words + 2 * i, uint64_t{sequence} << 32 | (bits & 0xffffffffu));
  StoreWord(words + 2 * i + 1, uint64_t{sequence} << 32 | bits >> 32);
}

// Row `token` of the embedding's table, which stays in global memory.
template <class Real>
__device__ Real EmbeddingElement(const Matrix& table, uint32_t stride, uint32_t token,
                                 uint32_t col) {
  const size_t at = size_t{token} * stride + col;
  float v = 0;
  switch (table.dtype) {
    case DType::f32:
      return static_cast<const float*>(table.data)[at];
    case DType::bf16:
      return WeightBf16::Number(static_cast<const uint16_t*>(table.data)[at]);
    case DType::i16:
      v = static_cast<const int16_t*>(table.data)[at];
      break;
    case DType::i8:
      v = static_cast<const int8_t*>(table.data)[at];
      break;
  }
  return v * table.scale[token];
}

template <class C>
__device__ __forceinline__ void Blocks(C& cta) {
  const auto& s = cta.S();
#pragma unroll 1
  for (uint32_t b = 0; b < s.blocks; ++b) {
    if (__builtin_expect(s.slstm >> b & 1, 0)) {
      cta.Slstm();
    } else {
      cta.Mlstm();
    }
  }
}

// One step; input(i): the i-th input; false if the CTAs have lost each other.
template <class C, class Input, class Put>
__device__ __forceinline__ bool Step(C& cta, const Input& input, const Put& put) {
  using Real = typename C::Real;
  const auto& s = cta.S();
  const auto& args = cta.args();
  if (C::kFixed && __builtin_expect(!s.embed && !s.encoder, 1)) {
    static_assert(!C::kFixed || C::kThreads == 128);  // as many as x has elements
    cta.X()[threadIdx.x] = input(threadIdx.x);
  } else if (s.embed) {
    const auto token = static_cast<uint32_t>(input(0));
    for (uint32_t i = threadIdx.x; i < s.width; i += C::kThreads) {
      cta.X()[i] = EmbeddingElement<Real>(args.embedding, args.embedding_stride, token, i);
    }
  } else {
    Real* to = s.encoder ? cta.At(s.input) : cta.X();
    for (uint32_t i = threadIdx.x; i < s.input_width; i += C::kThreads) to[i] = input(i);
  }
  __syncthreads();
  if (__builtin_expect(s.encoder, 0)) cta.Encode();
  cta.Rewind();
  Blocks(cta);
  cta.WaitForX();
  if constexpr (C::kFixed) {
    cta.AfterX();
    if (__builtin_expect(!s.head, 1)) {
      // The one barrier before x is overwritten, and before anything is given out.
      const Real y = cta.OwnOutput();
      const bool ok = !__syncthreads_or(!cta.exchange().ok());
      const uint32_t i = threadIdx.x - C::kOutputThread;
      if (ok && i < s.rows) put(cta.rank() * s.rows + i, y);
      cta.Flip();
      return ok;
    }
  }
  const bool ok = !__syncthreads_or(!cta.exchange().ok());
  if (ok) cta.Output(put);
  cta.Flip();
  __syncthreads();
  return ok;
}

// Where the input is x and the output its norm: while the last x of a step travels, the next input
// is put in place, and the step's one barrier passed; the output is for when the next step's first
// block waits.
template <class C>
__device__ __forceinline__ bool RunPlainSteps(C& cta) {
  using Real = typename C::Real;
  const auto& args = cta.args();
  Real* input = cta.At(cta.S().input) + threadIdx.x;
  const Real* in = args.in + threadIdx.x;
  *input = *in;
  Real next = args.steps > 1 ? in[C::kThreads] : Real(0);
  __syncthreads();
  for (uint32_t t = 0; t < args.steps; ++t) {
    cta.Rewind();
    cta.StartAtInput();
    Blocks(cta);
    *input = next;
    if (t + 2 < args.steps) next = in[size_t{t + 2} * C::kThreads];
    if (__syncthreads_or(!cta.exchange().ok())) return false;
    cta.Owe(args.out + size_t{t} * C::kThreads);
    cta.Flip();
  }
  cta.WaitForX();
  cta.AfterX();
  return !__syncthreads_or(!cta.exchange().ok());
}

template <class C>
__device__ __forceinline__ bool RunSteps(C& cta) {
  using Real = typename C::Real;
  const auto& args = cta.args();
  if constexpr (C::kFixed) {
    const auto& s = cta.S();
    if (!s.embed && !s.encoder && !s.head && args.steps) return RunPlainSteps(cta);
  }
  const uint32_t width = cta.S().input_width, out_width = cta.S().output_width;
  Real next = threadIdx.x < width && args.steps ? args.in[threadIdx.x] : Real(0);
  for (uint32_t t = 0; t < args.steps; ++t) {
    const Real* row = args.in + size_t{t} * width;
    const Real own = next;
    // The next row is on its way during this step.
    if (threadIdx.x < width && t + 1 < args.steps) next = row[width + threadIdx.x];
    const bool ok = Step(
        cta, [&](uint32_t i) { return i == threadIdx.x ? own : row[i]; },
        [&](uint32_t i, Real v) { args.out[size_t{t} * out_width + i] = v; });
    if (!ok) return false;
  }
  return true;
}

// CTA 0: waits for request `sequence` and leaves its row in `input`; false: it is time to leave.
template <class C>
__device__ bool Poll(C& cta, uint32_t sequence, uint64_t born) {
  using Real = typename C::Real;
  const OnChipTimes& times = cta.args().times;
  Mailbox* box = cta.args().mailbox;
  const uint32_t words = MailboxWords<Real>(cta.S().input_width);
  auto* pieces = reinterpret_cast<uint32_t*>(cta.At(cta.S().input));
  const uint64_t start = Nanoseconds();
  if (__syncthreads_or(threadIdx.x == 0 && start - born > times.lifetime)) return false;
  for (uint32_t look = 0;; ++look) {
    bool there = true, leave = false;
    // Seldom: it may cost another trip to the host's memory.
    if (threadIdx.x == C::kThreads - 1 && look % 16 == 8) {
      leave = *const_cast<const volatile uint32_t*>(&box->stop) != 0;
    }
    for (uint32_t i = threadIdx.x; i < words; i += C::kThreads) {
      const uint64_t word = LoadWord(&box->words[0] + i);
      there = there && static_cast<uint32_t>(word >> 32) == sequence;
      pieces[i] = static_cast<uint32_t>(word);
    }
    if (__syncthreads_and(there)) return true;
    const uint64_t waited = Nanoseconds() - start;
    if (__syncthreads_or(leave || (threadIdx.x == 0 && waited > times.idle))) return false;
    if (waited > times.spin) __nanosleep(500);
  }
}

template <class C>
__device__ __forceinline__ bool Serve(C& cta, uint32_t* handled) {
  using Real = typename C::Real;
  const auto& s = cta.S();
  const auto& args = cta.args();
  auto& ex = cta.exchange();
  const uint64_t born = Nanoseconds();
  uint64_t* replies = &args.mailbox->words[0] + MailboxReplies<Real>(s.input_width);
  uint32_t sequence = args.last_handled;
  bool ok = true;
  while (ok) {
    Real go = 1;
    if (cta.rank() == 0) {
      go = Poll(cta, sequence + 1, born) ? 1 : 0;
      const uint32_t others = s.ctas - 1, chunks = (s.input_width + 3) / 4 + 1;
      for (uint32_t t = threadIdx.x; t < chunks * others; t += C::kThreads) {
        const uint32_t chunk = t / others, p = t % others + 1;
        const uint32_t offset = s.input + 4 * chunk * uint32_t(sizeof(Real));
        const Four<Real> v = LoadFour(cta.At(offset));
        const Real first = chunk + 1 == chunks ? go : v.v[0];
        if constexpr (sizeof(Real) == 4) {
          ex.Send4(kToAll, p, offset, make_float4(first, v.v[1], v.v[2], v.v[3]));
        } else {
          for (int i = 0; i < 4; ++i) {
            ex.Send(kToAll, p, offset + i * uint32_t(sizeof(Real)), i == 0 ? first : v.v[i]);
          }
        }
      }
    }
    ex.Close(kToAll);
    if (cta.rank() != 0) {
      // CTA 0 speaks at the latest when it has idled enough.
      ex.SetTimeout(args.exchange.timeout + args.times.idle);
      ex.Wait(kToAll, s.input, (OnChipShape::Pad4(s.input_width) + 4) * uint32_t(sizeof(Real)),
              cta.expect()[kToAll]);
      ex.SetTimeout(args.exchange.timeout);
      go = cta.At(s.input)[OnChipShape::Pad4(s.input_width)];
    }
    if (__syncthreads_or(go == Real(0) || !ex.ok())) {
      ok = !__syncthreads_or(!ex.ok());
      break;
    }
    ++sequence;
    ok = Step(
        cta, [&](uint32_t i) { return cta.At(s.input)[i]; },
        [&](uint32_t i, Real v) { PutReply(replies, i, sequence, v); });
  }
  *handled = sequence;
  return ok;
}

// The same address from a register that the compiler does not know how to make again: it would,
// from a special register and in front of the first loads behind every wait.
__device__ __forceinline__ uint8_t* OpaqueShared(void* shared) {
  const auto address = static_cast<uint32_t>(__cvta_generic_to_shared(shared));
  return static_cast<uint8_t*>(__cvta_shared_to_generic(__shfl_sync(0xffffffffu, address, 0)));
}

template <class C, class Real>
__global__ void __launch_bounds__(C::kThreads, 1)
    OnChipKernel(const __grid_constant__ OnChipArgs<Real> args) {
  extern __shared__ uint4 on_chip_shared[];
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 900
  if constexpr (C::kCluster)
    return;
  else
#endif
  {
    C cta(args, OpaqueShared(on_chip_shared));
    cta.Load();
    cta.exchange().Open(cta.expect());
    uint32_t handled = 0;
    const bool ok = args.mailbox ? Serve(cta, &handled) : RunSteps(cta);
    if (ok) {
      cta.Save();
      // Nobody leaves while numbers are on their way to it.
      cta.exchange().Meet();
    } else {
      // The others notice by themselves, about now; until then they may still send.
      const uint64_t start = Nanoseconds();
      while (Nanoseconds() - start < args.exchange.timeout / 8) __nanosleep(1000);
    }
    if (threadIdx.x == 0 && cta.rank() == 0) {
      if (args.mailbox) {
        const auto put = [](uint32_t* p, uint32_t v) { *const_cast<volatile uint32_t*>(p) = v; };
        put(&args.mailbox->handled, handled);
        put(&args.mailbox->error,
            uint32_t(ok ? MailboxError::none : MailboxError::exchange_timeout));
        __threadfence_system();
        put(&args.mailbox->exited, args.launch);
      } else if (args.failed) {
        *args.failed = !ok;
      }
    }
  }
}

template <class W>
struct FixedShape {
  static constexpr bool kFixed = true;
  static constexpr uint32_t kThreads = kFixedThreads;
  static __device__ __forceinline__ OnChipShape Get(const OnChipShape& s) {
    constexpr OnChipShape kShape = ReadmeShape(sizeof(typename W::Element), W::kScaled);
    return WithEnds(kShape, s);
  }
};

template <class Real, class W, class E, class P>
const void* KernelAddress() {
  return reinterpret_cast<const void*>(&OnChipKernel<Cta<Real, W, E, P>, Real>);
}

// fixed: what MatchesFixed says.
template <class Real, class W>
const void* FindOnChipKernel(OnChipBody body, bool fixed) {
  if constexpr (sizeof(Real) == 4) {
    if (fixed) return KernelAddress<Real, W, ClusterExchange, FixedShape<W>>();
  }
  switch (body) {
    case OnChipBody::cluster:
      return KernelAddress<Real, W, ClusterExchange, AnyShape>();
    case OnChipBody::grid:
      return KernelAddress<Real, W, GridExchange, AnyShape>();
    case OnChipBody::single:
      return KernelAddress<Real, W, NoExchange, AnyShape>();
  }
  return nullptr;
}

}  // namespace xst::kernels::cuda
