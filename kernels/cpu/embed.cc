#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/embed.cc"
#include "kernels/cpu/targets.h"

#include "hwy/foreach_target.h"

#include "kernels/cpu/lanes-inl.h"
#include "kernels/cpu/weights-inl.h"

HWY_BEFORE_NAMESPACE();
namespace xst::kernels::XST_ARITHMETIC::HWY_NAMESPACE {

// Columns [k, k + kLanes) of a row of the table, those beyond the end unspecified.
template <class W>
HWY_INLINE V Columns(const Matrix& m, size_t row, size_t k) {
  using Element = typename W::Element;
  if (m.layout == Layout::rows) return W::Load(RowOf<W>(m, row) + k);
  constexpr size_t kTogether = W::kColumns;
  const size_t panel = (m.cols + kTogether - 1) / kTogether * kTogether * kUnit;
  const Element* from =
      static_cast<const Element*>(m.data) + row / kUnit * panel + row % kUnit * kTogether;
  Element columns[kLanes] = {};
  for (size_t i = 0; i < kLanes && k + i < m.cols; ++i) {
    columns[i] = from[(k + i) / kTogether * kUnit * kTogether + (k + i) % kTogether];
  }
  return W::Load(columns);
}

void Run(const Embed& o, Real* frame, Range) {
  const Matrix& m = o.table;
  const size_t row = static_cast<size_t>(frame[o.token]);
  Real* x = frame + o.x;
  WithWeights(m.dtype, [&](auto type) HWY_ATTR {
    ForLanes(0, m.cols, [&](size_t k, auto lanes) HWY_ATTR {
      const V v = Columns<decltype(type)>(m, row, k);
      lanes.Store(m.scale ? Rounded(hn::Mul(v, Splat(m.scale[row]))) : v, x + k);
    });
  });
}

}  // namespace xst::kernels::XST_ARITHMETIC::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
