// Products with matrices in layout `panel`: one micro-kernel for every op and weight type.
#include "hwy/cache_control.h"
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

// Row vectors whose sums are in flight at once: enough to cover the latency of a multiply-add.
inline constexpr size_t kGroup = 8;

// A row's products are summed one column after the other within blocks of this many columns, then
// the blocks: an order that does not depend on the grouping of rows.
inline constexpr size_t kColumnBlock = 64;

// Small types are asked of memory this many words in advance.
inline constexpr size_t kAhead = 4 * kUnit;

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

// block[i] += the sum over the first kCount columns k of those that lie together from column
// `begin` on of w(i, k) * x(i, k).
template <size_t kCount, class W, size_t kVectors, class X>
HWY_INLINE void AddColumns(const PanelRows<W, kVectors>& w, size_t begin, const X& x,
                           V (&block)[kVectors]) {
  HWY_UNROLL(8)
  for (size_t i = 0; i < kVectors; ++i) {
    const auto words = w.Load(i, begin);
    // Widening takes about as long as memory does, so the two must overlap.
    if constexpr (W::kColumns > 1) {
      if (i % kPanelVectors == 0) hwy::Prefetch(w.At(i, begin) + kAhead);
    }
    V sum = hn::MulAdd(w.template Column<0>(i, words), x(i, begin), block[i]);
    if constexpr (kCount > 1) {
      sum = hn::MulAdd(w.template Column<1>(i, words), x(i, begin + 1), sum);
    }
    if constexpr (kCount > 2) {
      sum = hn::MulAdd(w.template Column<2>(i, words), x(i, begin + 2), sum);
    }
    if constexpr (kCount > 3) {
      sum = hn::MulAdd(w.template Column<3>(i, words), x(i, begin + 3), sum);
    }
    block[i] = sum;
  }
}

// sums[i] = the sum over columns k of w(i, k) * x(i, k). No x is read beyond `cols`.
template <class W, size_t kVectors, class X>
HWY_INLINE void Accumulate(const PanelRows<W, kVectors>& w, size_t cols, const X& x,
                           V (&sums)[kVectors]) {
  for (size_t i = 0; i < kVectors; ++i) sums[i] = hn::Zero(D());
  for (size_t begin = 0; begin < cols; begin += kColumnBlock) {
    const size_t end = HWY_MIN(begin + kColumnBlock, cols);
    V block[kVectors];
    HWY_UNROLL(8)
    for (size_t i = 0; i < kVectors; ++i) block[i] = hn::Zero(D());
    size_t k = begin;
    for (; k + W::kColumns <= end; k += W::kColumns) AddColumns<W::kColumns>(w, k, x, block);
    if constexpr (W::kColumns > 1) {
      if (end - k == 1) AddColumns<1>(w, k, x, block);
    }
    if constexpr (W::kColumns > 2) {
      if (end - k == 2) AddColumns<2>(w, k, x, block);
      if (end - k == 3) AddColumns<3>(w, k, x, block);
    }
    HWY_UNROLL(8)
    for (size_t i = 0; i < kVectors; ++i) sums[i] = hn::Add(sums[i], block[i]);
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
  HWY_INLINE BlockInputs(size_t row, size_t rows, size_t block) {
    for (size_t i = 0; i < kUnit; ++i) {
      begin_[i] = static_cast<int32_t>(HWY_MIN(row + i, rows - 1) / block * block);
    }
  }
  // Whether all 16 rows are in one block.
  HWY_INLINE bool uniform() const { return begin_[0] == begin_[kUnit - 1]; }
  HWY_INLINE size_t begin() const { return static_cast<size_t>(begin_[0]); }
  // Input k of the block of each row of row vector v.
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
  alignas(64) int32_t begin_[kUnit];
};

}  // namespace xst::kernels::XST_ARITHMETIC::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
