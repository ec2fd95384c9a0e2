// Products with panels of i16 and i8 in integers, where the instruction set multiplies and adds
// them faster than it makes floats of them. The input is rounded once to integers that give its
// largest element 23 bits, and cut into digits small enough that sums of their products with the
// weights are exact. So nothing but the rounding of the input, and a few additions of floats, is
// left of what float products would round.
#include <cstdint>
#include <cstring>
#include <limits>

#include "kernels/cpu/features.h"
#include "kernels/cpu/lanes-inl.h"
#include "kernels/cpu/math-inl.h"
#include "kernels/cpu/panel_many-inl.h"
#include "kernels/cpu/weights-inl.h"
#include "kernels/kernels.h"

#if defined(XST_KERNELS_CPU_PANEL_INTEGER_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef XST_KERNELS_CPU_PANEL_INTEGER_INL_H_
#undef XST_KERNELS_CPU_PANEL_INTEGER_INL_H_
#else
#define XST_KERNELS_CPU_PANEL_INTEGER_INL_H_
#endif

HWY_BEFORE_NAMESPACE();
namespace xst::kernels::XST_ARITHMETIC::HWY_NAMESPACE {

// Digits of weight type W's inputs: kCount of them, the most significant first, to base kBase, each
// at most kBase / 2 + 1 in size, as the division by the base rounds. Inputs are below
// 2^kBits / kMargin in units of their step, so that the first digit is no larger than the others.
// Sums over kBlock columns are exact.
template <class W>
struct Digits {
  static constexpr bool kUse = false;
};

// Defined for targets that have them.
#undef XST_PANEL_INTEGER
#if !defined(XST_WIDE) && (HWY_TARGET == HWY_AVX2 || HWY_TARGET == HWY_AVX3 || \
                           (HWY_TARGET == HWY_NEON && HWY_ARCH_ARM_A64))
#define XST_PANEL_INTEGER
#endif

#if defined(XST_PANEL_INTEGER) && HWY_TARGET != HWY_NEON
template <>
struct Digits<I16> {
  static constexpr bool kUse = true;
  using Type = int16_t;
  static constexpr size_t kCount = 2, kBlock = 32;
  static constexpr int kBits = 23, kBase = 4093;
  static constexpr float kMargin = 1.001f;
  static constexpr bool kUnsignedWeights = false;
};
#endif

#if defined(XST_PANEL_INTEGER) && HWY_TARGET != HWY_AVX2
template <>
struct Digits<I8> {
  static constexpr bool kUse = true;
  using Type = int8_t;
  static constexpr size_t kCount = 3, kBlock = 8192;
  static constexpr int kBits = 23, kBase = 253;
  static constexpr float kMargin = 1.03f;
  // The weights are taken as w + 128, from 0 on, and 128 times the sum of the digits off again.
  static constexpr bool kUnsignedWeights = HWY_TARGET == HWY_AVX3;
};
#endif

#ifdef XST_PANEL_INTEGER

// Wider matrices come from memory that is slower than any arithmetic.
inline constexpr size_t kMaxIntegerColumns = 2048;

using VWord = hn::Vec<DWord>;

// An input in digits; zeros follow the last column.
template <class W>
struct IntegerInput {
  using G = Digits<W>;
  alignas(64) typename G::Type digits[G::kCount][kMaxIntegerColumns + kUnit];
  float step;                 // the input's unit, a power of two; NaN if an element is not finite
  int32_t offset[G::kCount];  // of unsigned weights: what to take off the sums

  HWY_INLINE void Set(const float* x, size_t size) {
    const DI di;
    VI largest = hn::Zero(di);
    ForLanes(0, size, [&](size_t i, auto lanes) HWY_ATTR {
      largest = hn::Max(largest, hn::BitCast(di, hn::Abs(lanes.Load(x + i))));
    });
    const int32_t bits = hn::GetLane(hn::MaxOfLanes(di, largest));
    // The exponent of the largest, as far as it and its inverse are numbers.
    float bound;
    std::memcpy(&bound, &bits, sizeof bound);
    bound *= G::kMargin;
    int32_t exponent;
    std::memcpy(&exponent, &bound, sizeof exponent);
    exponent = HWY_MAX(exponent >> 23, G::kBits + 1);
    const auto power = [](int32_t biased) {
      const int32_t word = biased << 23;
      float p;
      std::memcpy(&p, &word, sizeof p);
      return p;
    };
    step = bits >= 0x7f800000 ? std::numeric_limits<float>::quiet_NaN()
                              : power(exponent - (G::kBits - 1));
    const V inverse = Splat(power(2 * 127 + G::kBits - 1 - exponent));

    V totals[G::kCount];
    for (V& total : totals) total = hn::Zero(D());
    size_t end = 0;
    ForLanes(0, size, [&](size_t i, auto lanes) HWY_ATTR {
      V rest = hn::Round(hn::Mul(lanes.Load(x + i), inverse));
      HWY_UNROLL(3)
      for (size_t d = 0; d < G::kCount; ++d) {
        constexpr double kBase = G::kBase;
        const size_t below = G::kCount - 1 - d;
        const double unit = below == 0 ? 1 : below == 1 ? kBase : kBase * kBase;
        const V digit = below == 0 ? rest : hn::Round(hn::Mul(rest, Splat(1 / unit)));
        rest = hn::NegMulAdd(digit, Splat(unit), rest);
        if constexpr (G::kUnsignedWeights) totals[d] = hn::Add(totals[d], digit);
        hn::StoreU(hn::DemoteTo(hn::Rebind<typename G::Type, D>(), hn::ConvertTo(di, digit)),
                   hn::Rebind<typename G::Type, D>(), digits[d] + i);
      }
      end = i + kLanes;
    });
    // Up to the end of what lies together with the last column.
    for (; end < (size + 3) / 4 * 4; ++end) {
      for (size_t d = 0; d < G::kCount; ++d) digits[d][end] = 0;
    }
    if constexpr (G::kUnsignedWeights) {
      const bool number = step == step;
      for (size_t d = 0; d < G::kCount; ++d) {
        offset[d] = number ? -128 * static_cast<int32_t>(Sum(totals[d])) : 0;
      }
    }
  }

  // The digits d that meet the word of columns [k, k + W::kColumns), in every lane.
  HWY_INLINE VWord Word(size_t d, size_t k) const {
    int32_t word;
    std::memcpy(&word, digits[d] + k, sizeof word);
    return hn::Set(DWord(), word);
  }
};

// sum + the products of the i16, or of u8 w (AVX-512) or i8 w and i8 x, in each word. kDot: one
// instruction; without it others with the same result.
template <class W, bool kDot>
HWY_INLINE VWord AddProducts(VWord sum, VWord w, VWord x) {
#if HWY_TARGET == HWY_AVX3
  if constexpr (W::kColumns == 2) {
    if constexpr (kDot) {
      asm("vpdpwssd %2, %1, %0" : "+v"(sum.raw) : "v"(w.raw), "v"(x.raw));
      return sum;
    }
    return hn::Add(sum, VWord{_mm512_madd_epi16(w.raw, x.raw)});
  } else {
    if constexpr (kDot) {
      asm("vpdpbusd %2, %1, %0" : "+v"(sum.raw) : "v"(w.raw), "v"(x.raw));
      return sum;
    }
    const hn::Repartition<int16_t, DWord> half;
    const hn::Repartition<uint16_t, DWord> unsigned_half;
    const auto wh = hn::BitCast(unsigned_half, w);
    const auto xh = hn::BitCast(half, x);
    const auto w_odd = hn::ShiftRight<8>(wh);
    const auto w_even = hn::ShiftRight<8>(hn::ShiftLeft<8>(wh));
    const auto x_odd = hn::ShiftRight<8>(xh);
    const auto x_even = hn::ShiftRight<8>(hn::ShiftLeft<8>(xh));
    return hn::Add(sum, hn::Add(VWord{_mm512_madd_epi16(w_odd.raw, x_odd.raw)},
                                VWord{_mm512_madd_epi16(w_even.raw, x_even.raw)}));
  }
#elif HWY_TARGET == HWY_NEON
  static_assert(W::kColumns == 4);
  const int8x16_t wb = vreinterpretq_s8_s32(w.raw), xb = vreinterpretq_s8_s32(x.raw);
  if constexpr (kDot) {
    // The first line is for the assembler alone: the compiler's own code is for all of ARMv8.
    asm(".arch armv8.2-a+crypto+dotprod\n\tsdot %0.4s, %1.16b, %2.16b"
        : "+w"(sum.raw)
        : "w"(wb), "w"(xb));
    return sum;
  }
  // Two products of at most 128 * 127 fit 16 bits.
  const int16x8_t pairs =
      vpaddq_s16(vmull_s8(vget_low_s8(wb), vget_low_s8(xb)), vmull_high_s8(wb, xb));
  return VWord{vpadalq_s16(sum.raw, pairs)};
#else
  static_assert(W::kColumns == 2 && !kDot);
  return hn::Add(sum, VWord{_mm256_madd_epi16(w.raw, x.raw)});
#endif
}

// Streams whose sums are in flight at once, and those whose digits lie beside a panel in L1.
inline constexpr size_t kIntegerStreams = HWY_TARGET == HWY_AVX3 ? 4 : 2;
inline constexpr size_t kIntegerChunk = 8;

// sums[s][i] = the sum over columns k of m[row vector first + i][k] * x[s][k], for one panel: the
// same for any kStreams, as only the additions of floats have an order. Meanwhile a line a word
// from `ahead` on comes into L2, unless it is null.
template <class W, bool kDot, size_t kStreams>
HWY_INLINE void IntegerProduct(const Matrix& m, size_t first, const IntegerInput<W>* x,
                               V (&sums)[kStreams][kPanelVectors],
                               const std::byte* ahead = nullptr) {
  using G = Digits<W>;
  // Sums of one stream that take turns.
  constexpr size_t kTurns = kPanelVectors == 1 && kStreams == 1 ? 2 : 1;
  const size_t words = (m.cols + W::kColumns - 1) / W::kColumns;
  const typename W::Word* w =
      static_cast<const typename W::Word*>(m.data) + first / kPanelVectors * words * kUnit;
  for (auto& stream : sums) {
    for (V& sum : stream) sum = hn::Zero(D());
  }
  for (size_t begin = 0; begin < words; begin += G::kBlock / W::kColumns) {
    const size_t end = HWY_MIN(begin + G::kBlock / W::kColumns, words);
    VWord exact[kTurns * kStreams][G::kCount][kPanelVectors];
    HWY_UNROLL(4)
    for (size_t t = 0; t < kTurns * kStreams; ++t) {
      HWY_UNROLL(3)
      for (size_t d = 0; d < G::kCount; ++d) {
        HWY_UNROLL(4)
        for (size_t i = 0; i < kPanelVectors; ++i) {
          const bool offset = G::kUnsignedWeights && t < kStreams && begin == 0;
          exact[t][d][i] = offset ? hn::Set(DWord(), x[t].offset[d]) : hn::Zero(DWord());
        }
      }
    }
    const auto add = [&](size_t k, size_t t) HWY_ATTR {
      VWord wk[kPanelVectors];
      HWY_UNROLL(4)
      for (size_t i = 0; i < kPanelVectors; ++i) {
        wk[i] = W::Load(w + k * kUnit + i * kLanes);
        if constexpr (G::kUnsignedWeights) {
          wk[i] = hn::Xor(wk[i], hn::Set(DWord(), static_cast<int32_t>(0x80808080u)));
        }
      }
      HWY_UNROLL(4)
      for (size_t s = 0; s < kStreams; ++s) {
        HWY_UNROLL(3)
        for (size_t d = 0; d < G::kCount; ++d) {
          const VWord xk = x[s].Word(d, k * W::kColumns);
          HWY_UNROLL(4)
          for (size_t i = 0; i < kPanelVectors; ++i) {
            VWord& sum = exact[t * kStreams + s][d][i];
            sum = AddProducts<W, kDot>(sum, wk[i], xk);
          }
        }
      }
    };
    size_t k = begin;
    if (kStreams > 1 && ahead) {
      for (; k < end; ++k, ahead += Ahead::kLine) {
        PrefetchL2(ahead);
        add(k, 0);
      }
    }
    for (; k + kTurns <= end; k += kTurns) {
      HWY_UNROLL(2)
      for (size_t t = 0; t < kTurns; ++t) add(k + t, t);
    }
    for (; k < end; ++k) add(k, 0);
    HWY_UNROLL(4)
    for (size_t s = 0; s < kStreams; ++s) {
      HWY_UNROLL(4)
      for (size_t i = 0; i < kPanelVectors; ++i) {
        V number = hn::Zero(D());
        HWY_UNROLL(3)
        for (size_t d = 0; d < G::kCount; ++d) {
          VWord sum = exact[s][d][i];
          HWY_UNROLL(2)
          for (size_t t = 1; t < kTurns; ++t) sum = hn::Add(sum, exact[t * kStreams + s][d][i]);
          const V digit = hn::ConvertTo(D(), sum);
          number = d == 0 ? digit : hn::MulAdd(number, Splat(G::kBase), digit);
        }
        sums[s][i] = hn::Add(sums[s][i], number);
      }
    }
  }
  for (size_t s = 0; s < kStreams; ++s) {
    for (size_t i = 0; i < kPanelVectors; ++i) {
      const V sum = hn::Mul(sums[s][i], Splat(x[s].step));
      sums[s][i] = hn::Mul(sum, LoadWhole(m.scale + (first + i) * kLanes));
    }
  }
}

#endif

}  // namespace xst::kernels::XST_ARITHMETIC::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
