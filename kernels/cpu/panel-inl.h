// Products with matrices in layout `panel`: one micro-kernel for every op and weight type.
#include <type_traits>

#include "kernels/cpu/lanes-inl.h"
#include "kernels/cpu/weights-inl.h"

#if defined(XST_KERNELS_CPU_PANEL_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef XST_KERNELS_CPU_PANEL_INL_H_
#undef XST_KERNELS_CPU_PANEL_INL_H_
#else
#define XST_KERNELS_CPU_PANEL_INL_H_
#endif

HWY_BEFORE_NAMESPACE();
namespace xst::kernels::XST_ARITHMETIC::HWY_NAMESPACE {

// Row vectors that a product takes at once: one panel, so that memory is read from one place after
// the other; a hardware prefetcher follows one stream better than several.
inline constexpr size_t kGroup = HWY_MIN(kPanelVectors, 4);

// The order of a row's sum, which does not depend on the grouping of rows: in blocks of
// kColumnBlock columns every kChains-th column goes to the same partial sum, one after the other,
// and the partial sums are then added to the row's in order. The partial sums cover the latency of
// a multiply-add.
inline constexpr size_t kColumnBlock = 128;
inline constexpr size_t kChains = 4;

// kVectors consecutive row vectors of a matrix of weight type W, from row vector `first`.
template <class W, size_t kVectors>
class PanelRows {
 public:
  static constexpr size_t kColumns = W::kColumns;

  HWY_INLINE PanelRows(const Matrix& w, size_t first) {
    static_assert(kVectors % kPanelVectors == 0 || kPanelVectors % kVectors == 0);
    const size_t words = (w.cols + kColumns - 1) / kColumns * kUnit;  // of a panel
    for (size_t p = 0; p < kPanels; ++p) {
      panel_[p] = static_cast<const typename W::Word*>(w.data) +
                  (first / kPanelVectors + p) * words + first % kPanelVectors * kLanes;
    }
    if constexpr (W::kScaled && kScaleWeights) {
      for (size_t i = 0; i < kVectors; ++i) {
        scale_[i] = hn::Mul(LoadWhole(w.scale + (first + i) * kLanes), Splat(W::kColumnUnit));
      }
    }
  }
  // Where row vector i of the columns that lie together from column k on does.
  HWY_INLINE const typename W::Word* At(size_t i, size_t k) const {
    return panel_[i / kPanelVectors] + k / kColumns * kUnit + i % kPanelVectors * kLanes;
  }
  HWY_INLINE typename W::Words Load(size_t i, size_t k) const { return W::Load(At(i, k)); }
  // Row vector i of their column j.
  template <size_t j>
  HWY_INLINE V Column(size_t i, typename W::Words words) const {
    return Scaled<W>(W::template Column<j>(words), scale_[i % kScales]);
  }

 private:
  static constexpr size_t kScales = W::kScaled && kScaleWeights ? kVectors : 1;
  static constexpr size_t kPanels = HWY_MAX(kVectors / kPanelVectors, 1);
  const typename W::Word* panel_[kPanels];
  V scale_[kScales];
};

// block[i][k % kChains] += w(i, k) * x(i, k) for the first kCount columns k of those that lie
// together from column `begin` on, which is column `at` of its block.
template <size_t kAt, size_t kCount, class W, size_t kVectors, class X>
HWY_INLINE void AddColumns(const PanelRows<W, kVectors>& w, size_t begin, const X& x,
                           V (&block)[kVectors][kChains]) {
  HWY_UNROLL(8)
  for (size_t i = 0; i < kVectors; ++i) {
    const auto words = w.Load(i, begin);
    const auto add = [&](auto column) HWY_ATTR {
      constexpr size_t j = column();
      V& sum = block[i][(kAt + j) % kChains];
      sum = hn::MulAdd(w.template Column<j>(i, words), x(i, begin + j), sum);
    };
    add(std::integral_constant<size_t, 0>());
    if constexpr (kCount > 1) add(std::integral_constant<size_t, 1>());
    if constexpr (kCount > 2) add(std::integral_constant<size_t, 2>());
    if constexpr (kCount > 3) add(std::integral_constant<size_t, 3>());
  }
}

// The same for kCount columns, kAt of them done.
template <size_t kCount, size_t kAt = 0, class W, size_t kVectors, class X>
HWY_INLINE void AddChains(const PanelRows<W, kVectors>& w, size_t begin, const X& x,
                          V (&block)[kVectors][kChains]) {
  if constexpr (kAt < kCount) {
    constexpr size_t kNow = HWY_MIN(W::kColumns, kCount - kAt);
    AddColumns<kAt, kNow>(w, begin + kAt, x, block);
    AddChains<kCount, kAt + kNow>(w, begin, x, block);
  }
}

// sums[i] = the sum over columns k of w(i, k) * x(i, k). No x is read beyond `cols`.
template <class W, size_t kVectors, class X>
HWY_INLINE void Accumulate(const PanelRows<W, kVectors>& w, size_t cols, const X& x,
                           V (&sums)[kVectors]) {
  for (size_t i = 0; i < kVectors; ++i) sums[i] = hn::Zero(D());
  for (size_t begin = 0; begin < cols; begin += kColumnBlock) {
    const size_t end = HWY_MIN(begin + kColumnBlock, cols);
    V block[kVectors][kChains];
    HWY_UNROLL(8)
    for (size_t i = 0; i < kVectors; ++i) {
      HWY_UNROLL(4)
      for (size_t c = 0; c < kChains; ++c) block[i][c] = hn::Zero(D());
    }
    size_t k = begin;
    for (; k + kChains <= end; k += kChains) AddChains<kChains>(w, k, x, block);
    if (end - k == 1) AddChains<1>(w, k, x, block);
    if (end - k == 2) AddChains<2>(w, k, x, block);
    if (end - k == 3) AddChains<3>(w, k, x, block);
    HWY_UNROLL(8)
    for (size_t i = 0; i < kVectors; ++i) {
      HWY_UNROLL(4)
      for (size_t c = 0; c < kChains; ++c) sums[i] = hn::Add(sums[i], block[i][c]);
    }
  }
}

// What is left to do to the sums of row vectors [first, first + kVectors).
template <class W, size_t kVectors>
HWY_INLINE void ScaleSums(const Matrix& m, size_t first, V (&sums)[kVectors]) {
  if constexpr (kScaleSum<W>) {
    for (size_t i = 0; i < kVectors; ++i) {
      const V sum = hn::Mul(sums[i], Splat(W::kColumnUnit));
      sums[i] = hn::Mul(sum, LoadWhole(m.scale + (first + i) * kLanes));
    }
  }
}

// sums[i] = sum over columns k of m[row vector first + i][k] * x(i, k), for a matrix in panels.
template <class W, size_t kVectors, class X>
HWY_INLINE void PanelProduct(const Matrix& m, size_t first, const X& x, V (&sums)[kVectors]) {
  Accumulate(PanelRows<W, kVectors>(m, first), m.cols, x, sums);
  ScaleSums<W>(m, first, sums);
}

// For 16 rows (channels) of a block-diagonal matrix: where the input of each one's block begins.
class BlockInputs {
 public:
  // Of rows [row, row + 16) in blocks of `block` rows; those from `rows` on take the last row's.
  HWY_INLINE BlockInputs(size_t row, size_t rows, size_t block)
      : first_(row / block * block), uniform_(HWY_MIN(row + kUnit, rows) <= first_ + block) {
    if (uniform_) return;
    size_t begin = first_;
    for (size_t i = 0; i < kUnit; ++i) {
      if (row + i == begin + block && row + i < rows) begin += block;
      begin_[i] = static_cast<int32_t>(begin);
    }
  }
  // Whether all 16 rows are in one block.
  HWY_INLINE bool uniform() const { return uniform_; }
  HWY_INLINE size_t begin() const { return first_; }
  // Input k of the block of each row of row vector v, unless they are in one block.
  HWY_INLINE V Gather(const Real* x, size_t v, size_t k) const {
#ifdef XST_WIDE
    HWY_ALIGN Real lanes[kLanes];
    for (size_t i = 0; i < kLanes; ++i) lanes[i] = x[begin_[v * kLanes + i] + k];
    return hn::Load(D(), lanes);
#else
    const hn::RebindToSigned<D> di;
    return hn::GatherIndex(D(), x + k, hn::Load(di, begin_ + v * kLanes));
#endif
  }

 private:
  size_t first_;
  bool uniform_;
  alignas(64) int32_t begin_[kUnit];  // unless uniform_
};

}  // namespace xst::kernels::XST_ARITHMETIC::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
