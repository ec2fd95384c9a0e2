// Products with matrices in layout `panel`: one micro-kernel for every op and weight type.
#include "kernels/cpu/lanes-inl.h"

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

// kVectors consecutive row vectors of an f32 matrix, from row vector `first`.
template <size_t kVectors>
class F32Rows {
 public:
  HWY_INLINE F32Rows(const Matrix& w, size_t first) {
    static_assert(kVectors % kPanelVectors == 0 || kPanelVectors % kVectors == 0);
    for (size_t p = 0; p < kPanels; ++p) {
      panel_[p] = static_cast<const float*>(w.data) + (first / kPanelVectors + p) * w.cols * kUnit +
                  first % kPanelVectors * kLanes;
    }
  }
  // Row vector i of column k.
  HWY_INLINE V Load(size_t i, size_t k) const {
    return LoadWhole(panel_[i / kPanelVectors] + k * kUnit + i % kPanelVectors * kLanes);
  }

 private:
  static constexpr size_t kPanels = HWY_MAX(kVectors / kPanelVectors, 1);
  const float* panel_[kPanels];
};

// sums[i] = sum over columns k of w.Load(i, k) * x(i, k).
template <size_t kVectors, class Rows, class X>
HWY_INLINE void PanelProduct(const Rows& w, size_t cols, const X& x, V (&sums)[kVectors]) {
  for (size_t i = 0; i < kVectors; ++i) sums[i] = hn::Zero(D());
  for (size_t begin = 0; begin < cols; begin += kColumnBlock) {
    const size_t end = HWY_MIN(begin + kColumnBlock, cols);
    V block[kVectors];
    HWY_UNROLL(8)
    for (size_t i = 0; i < kVectors; ++i) block[i] = hn::Zero(D());
    for (size_t k = begin; k < end; ++k) {
      HWY_UNROLL(8)
      for (size_t i = 0; i < kVectors; ++i) block[i] = hn::MulAdd(w.Load(i, k), x(i, k), block[i]);
    }
    HWY_UNROLL(8)
    for (size_t i = 0; i < kVectors; ++i) sums[i] = hn::Add(sums[i], block[i]);
  }
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
  HWY_INLINE V Gather(const float* x, size_t v, size_t k) const {
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
