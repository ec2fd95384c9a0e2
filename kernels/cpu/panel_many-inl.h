// Products of one matrix with the inputs of several streams: weights come into registers once for
// kManyStreams of them. Each stream's sums are made in the order of panel-inl.h, bit for bit.
#include <type_traits>

#include "kernels/cpu/panel-inl.h"
#include "kernels/kernels.h"

#if defined(XST_KERNELS_CPU_PANEL_MANY_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef XST_KERNELS_CPU_PANEL_MANY_INL_H_
#undef XST_KERNELS_CPU_PANEL_MANY_INL_H_
#else
#define XST_KERNELS_CPU_PANEL_MANY_INL_H_
#endif

HWY_BEFORE_NAMESPACE();
namespace xst::kernels::XST_ARITHMETIC::HWY_NAMESPACE {

// Their sums, the weights of one column and one input fill the registers.
inline constexpr size_t kManyVectors = HWY_TARGET == HWY_AVX2 ? 2 : 4;
inline constexpr size_t kManyStreams = 6;

// Streams that follow each other on a block of weights while it lies in L1.
inline constexpr size_t kManyChunk = 32;

// Lines of Ahead that a product asks for with each column.
inline constexpr size_t kAheadLines = 2;

// To L2, as L1 has no room.
HWY_INLINE void PrefetchL2(const void* p) { __builtin_prefetch(p, 0, 2); }

// kVectors vectors of every column: vector i of column k lies at first[i] + k * stride.
template <size_t kVectors>
struct Columns {
  const Real* first[kVectors];
  size_t stride;
};

// sums[s][i] += the sum over k < columns of w(i, k) * x[s][k * kStep], one after the other.
// Meanwhile kLines lines a column from `ahead` on come into L2.
template <size_t kVectors, size_t kStreams, size_t kStep, size_t kLines>
HWY_NOINLINE void AddBlock(const Columns<kVectors>& w, size_t columns, const Real* const* x,
                           V (*sums)[kVectors], const std::byte* ahead) {
  const Real* from[kVectors];
  const Real* input[kStreams];
  V block[kStreams][kVectors];
  HWY_UNROLL(8)
  for (size_t i = 0; i < kVectors; ++i) from[i] = w.first[i];
  HWY_UNROLL(8)
  for (size_t s = 0; s < kStreams; ++s) {
    input[s] = x[s];
    HWY_UNROLL(8)
    for (size_t i = 0; i < kVectors; ++i) block[s][i] = hn::Zero(D());
  }
  const size_t stride = w.stride;
  size_t at = 0;
  for (size_t k = 0; k < columns; ++k, at += stride) {
    V weights[kVectors];
    HWY_UNROLL(8)
    for (size_t i = 0; i < kVectors; ++i) weights[i] = LoadWhole(from[i] + at);
    HWY_UNROLL(8)
    for (size_t line = 0; line < kLines; ++line) PrefetchL2(ahead + line * Ahead::kLine);
    if constexpr (kLines > 0) ahead += kLines * Ahead::kLine;
    HWY_UNROLL(8)
    for (size_t s = 0; s < kStreams; ++s) {
      const V xs = Splat(input[s][k * kStep]);
      HWY_UNROLL(8)
      for (size_t i = 0; i < kVectors; ++i) block[s][i] = hn::MulAdd(weights[i], xs, block[s][i]);
    }
  }
  HWY_UNROLL(8)
  for (size_t s = 0; s < kStreams; ++s) {
    HWY_UNROLL(8)
    for (size_t i = 0; i < kVectors; ++i) sums[s][i] = hn::Add(sums[s][i], block[s][i]);
  }
}

// The same for any number of streams; `ahead` or null.
template <size_t kStep, size_t kVectors>
HWY_INLINE void AddBlocks(const Columns<kVectors>& w, size_t columns, const Real* const* x,
                          V (*sums)[kVectors], size_t streams, Ahead* ahead = nullptr) {
  for (size_t groups = (streams + kManyStreams - 1) / kManyStreams; groups > 0; --groups) {
    const size_t n = (streams + groups - 1) / groups;
    const std::byte* const lines = ahead ? ahead->Take(columns * kAheadLines) : nullptr;
    const auto add = [&](auto count) HWY_ATTR {
      if (lines) {
        AddBlock<kVectors, count(), kStep, kAheadLines>(w, columns, x, sums, lines);
      } else {
        AddBlock<kVectors, count(), kStep, 0>(w, columns, x, sums, nullptr);
      }
    };
    switch (n) {
      case 1:
        add(std::integral_constant<size_t, 1>());
        break;
      case 2:
        add(std::integral_constant<size_t, 2>());
        break;
      case 3:
        add(std::integral_constant<size_t, 3>());
        break;
      case 4:
        add(std::integral_constant<size_t, 4>());
        break;
      case 5:
        add(std::integral_constant<size_t, 5>());
        break;
      default:
        add(std::integral_constant<size_t, 6>());
        break;
    }
    streams -= n;
    x += n;
    sums += n;
  }
}

// Columns [begin, begin + columns) of row vectors [first, first + kVectors), at most kColumnBlock:
// where they lie, or for weights of another type than Real in `wide`, once for all streams.
template <class W, size_t kVectors>
class WeightBlock {
 public:
  HWY_INLINE WeightBlock(const Matrix& m, size_t first) : rows_(m, first) {}

  HWY_INLINE void Set(size_t begin, size_t columns) {
    begin_ = begin;
    if constexpr (!kDirect) {
      for (size_t k = 0; k < columns; k += W::kColumns) {
        HWY_UNROLL(8)
        for (size_t i = 0; i < kVectors; ++i) {
          const auto words = rows_.Load(i, begin + k);
          hn::Store(rows_.template Column<0>(i, words), D(), Wide(k) + i * kLanes);
          if constexpr (W::kColumns > 1) {
            hn::Store(rows_.template Column<1>(i, words), D(), Wide(k + 1) + i * kLanes);
          }
          if constexpr (W::kColumns > 2) {
            hn::Store(rows_.template Column<2>(i, words), D(), Wide(k + 2) + i * kLanes);
            hn::Store(rows_.template Column<3>(i, words), D(), Wide(k + 3) + i * kLanes);
          }
        }
      }
    }
  }
  // Every kChains-th of them, from column `chain` on.
  HWY_INLINE Columns<kVectors> Chain(size_t chain) {
    Columns<kVectors> c;
    if constexpr (kDirect) {
      c.stride = kChains * kUnit;
      for (size_t i = 0; i < kVectors; ++i) c.first[i] = rows_.At(i, begin_ + chain);
    } else {
      c.stride = kVectors * kLanes;
      for (size_t i = 0; i < kVectors; ++i) c.first[i] = Wide(chain) + i * kLanes;
    }
    return c;
  }

 private:
  static constexpr bool kDirect = std::is_same_v<typename W::Word, Real>;

  // Where column begin_ + k is: one chain behind the other.
  HWY_INLINE Real* Wide(size_t k) {
    return wide_ + (k % kChains * (kColumnBlock / kChains) + k / kChains) * kVectors * kLanes;
  }

  PanelRows<W, kVectors> rows_;
  size_t begin_ = 0;
  // Columns that lie together but do not exist are zeros.
  HWY_ALIGN Real wide_[kDirect ? 1 : kColumnBlock * kVectors * kLanes];
};

// store(s, sums) with the sums of stream s, sums[i] = the sum over columns k of
// m[row vector first + i][k] * x(s)[k], for s < streams; `ahead` or null.
template <class W, size_t kVectors, class X, class Store>
HWY_INLINE void PanelProducts(const Matrix& m, size_t first, size_t streams, const X& x,
                              const Store& store, Ahead* ahead = nullptr) {
  WeightBlock<W, kVectors> weights(m, first);
  for (size_t begin = 0; begin < streams; begin += kManyChunk) {
    const size_t n = HWY_MIN(kManyChunk, streams - begin);
    const Real* inputs[kManyChunk];
    V sums[kManyChunk][kVectors];
    for (size_t s = 0; s < n; ++s) {
      for (size_t i = 0; i < kVectors; ++i) sums[s][i] = hn::Zero(D());
    }
    for (size_t k = 0; k < m.cols; k += kColumnBlock) {
      const size_t columns = HWY_MIN(kColumnBlock, m.cols - k);
      weights.Set(k, columns);
      for (size_t c = 0; c < HWY_MIN(kChains, columns); ++c) {
        for (size_t s = 0; s < n; ++s) inputs[s] = x(begin + s) + k + c;
        const size_t of_chain = (columns - c + kChains - 1) / kChains;
        AddBlocks<kChains>(weights.Chain(c), of_chain, inputs, sums, n, ahead);
      }
    }
    for (size_t s = 0; s < n; ++s) {
      ScaleSums<W>(m, first, sums[s]);
      store(begin + s, sums[s]);
    }
  }
}

// f(n, v) for groups of n() row vectors from v on that make up [begin, end), which are whole
// panels.
template <class F>
HWY_INLINE void ForRowVectors(size_t begin, size_t end, const F& f) {
  size_t v = begin;
  for (; v + kManyVectors <= end; v += kManyVectors) {
    f(std::integral_constant<size_t, kManyVectors>(), v);
  }
  if constexpr (kManyVectors > 2 && kPanelVectors <= 2) {
    for (; v + 2 <= end; v += 2) f(std::integral_constant<size_t, 2>(), v);
  }
  if constexpr (kPanelVectors == 1) {
    for (; v < end; ++v) f(std::integral_constant<size_t, 1>(), v);
  }
}

}  // namespace xst::kernels::XST_ARITHMETIC::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
