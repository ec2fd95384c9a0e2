// The weight types as numbers, before a row's scale. A type W has
//   Element  what layout `rows` is made of: Load makes kLanes of them a vector of numbers
//   Word     the 4 bytes of layout `panel` where a row's kColumns columns lie together: Load takes
//            kLanes of them, Words, and Column<j> makes column j of each a number
//   kScaled  whether rows have a scale; then Column's numbers are in units of kColumnUnit.
#include "kernels/cpu/lanes-inl.h"

#if defined(XST_KERNELS_CPU_WEIGHTS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef XST_KERNELS_CPU_WEIGHTS_INL_H_
#undef XST_KERNELS_CPU_WEIGHTS_INL_H_
#else
#define XST_KERNELS_CPU_WEIGHTS_INL_H_
#endif

HWY_BEFORE_NAMESPACE();
namespace xst::kernels::XST_ARITHMETIC::HWY_NAMESPACE {

using DWord = hn::Rebind<int32_t, D>;

#ifdef XST_WIDE
HWY_INLINE V FromInteger(hn::Vec<DWord> v) { return hn::PromoteTo(D(), v); }
HWY_INLINE V FromBits(hn::Vec<DWord> v) { return hn::PromoteTo(D(), hn::BitCast(Narrow(), v)); }
#else
HWY_INLINE V FromInteger(hn::Vec<DWord> v) { return hn::ConvertTo(D(), v); }
HWY_INLINE V FromBits(hn::Vec<DWord> v) { return hn::BitCast(D(), v); }
#endif

struct F32 {
  using Element = float;
  using Word = float;
  using Words = V;
  static constexpr size_t kColumns = 1;
  static constexpr bool kScaled = false;

  static HWY_INLINE V Load(const float* p) { return LoadWhole(p); }
  template <size_t j>
  static HWY_INLINE V Column(V words) {
    return words;
  }
};

// What the types smaller than a word share.
struct SmallType {
  using Word = int32_t;
  using Words = hn::Vec<DWord>;

  static HWY_INLINE Words Load(const Word* p) { return hn::LoadU(DWord(), p); }
};

// The upper bits of each word, zeros below.
template <int kBits>
HWY_INLINE hn::Vec<DWord> Upper(hn::Vec<DWord> words) {
  return hn::And(words, hn::Set(DWord(), static_cast<int32_t>(~uint32_t{0} << (32 - kBits))));
}

// Byte j of each word as its uppermost, zeros below.
template <int j>
HWY_INLINE hn::Vec<DWord> TopByte(hn::Vec<DWord> words) {
#if HWY_TARGET == HWY_SCALAR
  return hn::ShiftLeft<24>(hn::ShiftRight<8 * j>(words));
#else
  constexpr uint32_t kZero = 0x808080;
  alignas(16) static constexpr uint32_t kFrom[4] = {j << 24 | kZero, (j + 4) << 24 | kZero,
                                                    (j + 8) << 24 | kZero, (j + 12) << 24 | kZero};
  const hn::Repartition<uint8_t, DWord> bytes;
  const auto from = hn::BitCast(bytes, hn::LoadDup128(hn::Rebind<uint32_t, D>(), kFrom));
  return hn::BitCast(DWord(), hn::TableLookupBytesOr0(hn::BitCast(bytes, words), from));
#endif
}

// Signed integers. A column is taken in the uppermost bits of its word, without shifting it down.
template <class T>
struct Integer : SmallType {
  using Element = T;
  static constexpr size_t kColumns = sizeof(Word) / sizeof(T);
  static constexpr bool kScaled = true;
  static constexpr int kBits = 8 * sizeof(T);
  static constexpr double kColumnUnit = 1.0 / (uint32_t{1} << (32 - kBits));

  using SmallType::Load;
  static HWY_INLINE V Load(const T* p) {
    return FromInteger(hn::PromoteTo(DWord(), hn::LoadU(hn::Rebind<T, D>(), p)));
  }
  template <size_t j>
  static HWY_INLINE V Column(Words words) {
    if constexpr (j == 0) {
      return FromInteger(hn::ShiftLeft<32 - kBits>(words));
    } else if constexpr (j < kColumns - 1) {
      return FromInteger(TopByte<j>(words));
    } else {
      return FromInteger(Upper<kBits>(words));
    }
  }
};
using I16 = Integer<int16_t>;
using I8 = Integer<int8_t>;

// The upper halves of floats.
struct Bf16 : SmallType {
  using Element = uint16_t;
  static constexpr size_t kColumns = 2;
  static constexpr bool kScaled = false;

  using SmallType::Load;
  static HWY_INLINE V Load(const uint16_t* p) {
    const auto bits =
        hn::PromoteTo(hn::Rebind<uint32_t, D>(), hn::LoadU(hn::Rebind<uint16_t, D>(), p));
    return FromBits(hn::BitCast(DWord(), hn::ShiftLeft<16>(bits)));
  }
  template <size_t j>
  static HWY_INLINE V Column(Words words) {
    return FromBits(j == 0 ? hn::ShiftLeft<16>(words) : Upper<16>(words));
  }
};

// The scale of i16 and i8 is multiplied onto a row's sum; in double onto each weight, rounded to
// float, which is the weight that the file stands for.
#ifdef XST_WIDE
inline constexpr bool kScaleWeights = true;
#else
inline constexpr bool kScaleWeights = false;
#endif
template <class W>
inline constexpr bool kScaleSum = W::kScaled && !kScaleWeights;

template <class W>
HWY_INLINE V Scaled(V number, V scale) {
  if constexpr (W::kScaled && kScaleWeights) return Rounded(hn::Mul(number, scale));
  return number;
}

// A row of a matrix in layout `rows`; it may be read by whole vectors, as zeros follow.
template <class W>
HWY_INLINE const typename W::Element* RowOf(const Matrix& m, size_t row) {
  constexpr size_t kLine = 64 / sizeof(typename W::Element);
  return static_cast<const typename W::Element*>(m.data) +
         row * ((m.cols + kLine - 1) / kLine * kLine);
}

// The weight types of this build, by their bits 1 << DType.
#ifndef XST_DTYPES
#define XST_DTYPES 15
#endif

// f(W()) with the weight type of `dtype`, one of this build's.
template <class F>
HWY_INLINE void WithWeights(DType dtype, const F& f) {
  const auto is = [&](DType d) { return (XST_DTYPES >> static_cast<int>(d) & 1) && dtype == d; };
  if (is(DType::i16)) return f(I16());
  if (is(DType::bf16)) return f(Bf16());
  if (is(DType::i8)) return f(I8());
  f(F32());
}

}  // namespace xst::kernels::XST_ARITHMETIC::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
