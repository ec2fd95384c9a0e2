#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/linear.cc"
#include "kernels/cpu/targets.h"

#include "hwy/foreach_target.h"

#include "kernels/cpu/features.h"
#include "kernels/cpu/lanes-inl.h"
#include "kernels/cpu/panel-inl.h"
#include "kernels/cpu/panel_integer-inl.h"
#include "kernels/cpu/panel_many-inl.h"
#include "kernels/cpu/weights-inl.h"
#include "kernels/kernels.h"

HWY_BEFORE_NAMESPACE();
namespace xst::kernels::XST_ARITHMETIC::HWY_NAMESPACE {

// Stores sums of rows [row, row + kLanes), of which those below o.w.rows exist.
HWY_INLINE void Store(const Linear& o, Real* y, size_t row, V sums) {
  ForLanes(row, HWY_MIN(row + kLanes, o.w.rows), [&](size_t i, auto lanes) HWY_ATTR {
    V v = sums;
    if (o.bias) v = hn::Add(v, lanes.Load(o.bias + i));
    if (o.accumulate) v = hn::Add(lanes.Load(y + i), v);
    lanes.Store(v, y + i);
  });
}

template <class W>
HWY_INLINE void Panel(const Linear& o, const Real* x, Real* y, size_t first) {
  V sums[kGroup];
  PanelProduct<W>(
      o.w, first, [x](size_t, size_t k) HWY_ATTR { return Splat(x[k]); }, sums);
  for (size_t i = 0; i < kGroup; ++i) Store(o, y, (first + i) * kLanes, sums[i]);
}

// Rows of layout `rows` that share the loads of x; their sums fill half of the registers.
inline constexpr size_t kRows = HWY_TARGET == HWY_AVX2 ? 2 : 4;

// Rows [row, row + kCount) of layout `rows`: each is four partial sums of every fourth vector, then
// the rest.
template <class W, size_t kCount>
HWY_INLINE void Rows(const Linear& o, size_t row, const Real* x, Real* y) {
  const Matrix& m = o.w;
  const typename W::Element* w[kCount];
  V scale[kCount], sums[kCount][4];
  HWY_UNROLL(4)
  for (size_t r = 0; r < kCount; ++r) {
    w[r] = RowOf<W>(m, row + r);
    scale[r] = Splat(W::kScaled ? m.scale[row + r] : 1.0f);
    for (size_t i = 0; i < 4; ++i) sums[r][i] = hn::Zero(D());
  }
  size_t k = 0;
  for (; k + 4 * kLanes <= m.cols; k += 4 * kLanes) {
    HWY_UNROLL(4)
    for (size_t i = 0; i < 4; ++i) {
      const size_t at = k + i * kLanes;
      const V xi = LoadWhole(x + at);
      HWY_UNROLL(4)
      for (size_t r = 0; r < kCount; ++r) {
        sums[r][i] = hn::MulAdd(Scaled<W>(W::Load(w[r] + at), scale[r]), xi, sums[r][i]);
      }
    }
  }
  ForLanes(k, m.cols, [&](size_t at, auto lanes) HWY_ATTR {
    for (size_t r = 0; r < kCount; ++r) {
      sums[r][0] =
          hn::MulAdd(Scaled<W>(W::Load(w[r] + at), scale[r]), lanes.Load(x + at), sums[r][0]);
    }
  });
  HWY_UNROLL(4)
  for (size_t r = 0; r < kCount; ++r) {
    const size_t at = row + r;
    Real v = Sum(hn::Add(hn::Add(sums[r][0], sums[r][1]), hn::Add(sums[r][2], sums[r][3])));
    if (kScaleSum<W>) v *= m.scale[at];
    if (o.bias) v += o.bias[at];
    y[at] = o.accumulate ? y[at] + v : v;
  }
}

#ifdef XST_PANEL_INTEGER
template <class W, bool kDot>
HWY_NOINLINE void IntegerPanels(const Linear& o, const Real* x, Real* y, Range r) {
  IntegerInput<W> input;
  input.Set(x, o.w.cols);
  for (size_t v = r.begin * kPanelVectors; v < r.end * kPanelVectors; v += kPanelVectors) {
    V sums[1][kPanelVectors];
    IntegerProduct<W, kDot>(o.w, v, &input, sums);
    for (size_t i = 0; i < kPanelVectors; ++i) Store(o, y, (v + i) * kLanes, sums[0][i]);
  }
}

// Of `kStreams` streams of a batch from `s` on, whose digits begin at `inputs`.
template <class W, bool kDot, size_t kStreams>
HWY_INLINE void IntegerPanel(const Linear& o, const Batch<Real>& b, size_t s, size_t v,
                             const IntegerInput<W>* inputs) {
  const size_t words = (o.w.cols + W::kColumns - 1) / W::kColumns;
  V sums[kStreams][kPanelVectors];
  IntegerProduct<W, kDot>(o.w, v, inputs, sums,
                          kStreams > 1 && b.ahead ? b.ahead->Take(words) : nullptr);
  for (size_t j = 0; j < kStreams; ++j) {
    for (size_t i = 0; i < kPanelVectors; ++i) {
      Store(o, b.frames[s + j] + o.y, (v + i) * kLanes, sums[j][i]);
    }
  }
}

template <class W, bool kDot>
HWY_NOINLINE void IntegerPanels(const Linear& o, const Batch<Real>& b, Range r) {
  IntegerInput<W> inputs[kIntegerChunk];
  for (size_t begin = 0; begin < b.count; begin += kIntegerChunk) {
    const size_t n = HWY_MIN(kIntegerChunk, b.count - begin);
    for (size_t s = 0; s < n; ++s) inputs[s].Set(b.frames[begin + s] + o.x, o.w.cols);
    for (size_t v = r.begin * kPanelVectors; v < r.end * kPanelVectors; v += kPanelVectors) {
      size_t s = 0;
      for (; s + kIntegerStreams <= n; s += kIntegerStreams) {
        IntegerPanel<W, kDot, kIntegerStreams>(o, b, begin + s, v, inputs + s);
      }
      for (; s < n; ++s) IntegerPanel<W, kDot, 1>(o, b, begin + s, v, inputs + s);
    }
  }
}
#endif

// f(whether it is AVX512-VNNI's or SDOT's) where products of this matrix are made in integers; else
// false.
template <class W, class F>
HWY_INLINE bool InIntegers([[maybe_unused]] const Matrix& m, [[maybe_unused]] const F& f) {
#ifdef XST_PANEL_INTEGER
  if constexpr (Digits<W>::kUse) {
    if (m.cols <= kMaxIntegerColumns) {
      if constexpr (HWY_TARGET == HWY_AVX3) {
        if (HasAvx512Vnni()) return f(std::true_type()), true;
      } else if constexpr (HWY_TARGET == HWY_NEON) {
        if (HasDotProduct()) return f(std::true_type()), true;
      }
      return f(std::false_type()), true;
    }
  }
#endif
  return false;
}

template <class W>
HWY_NOINLINE void RunAs(const Linear& o, Real* frame, Range r) {
  const Real* x = frame + o.x;
  Real* y = frame + o.y;
  if (o.w.layout == Layout::rows) {
    size_t row = r.begin;
    for (; row + kRows <= r.end; row += kRows) Rows<W, kRows>(o, row, x, y);
    for (; row < r.end; ++row) Rows<W, 1>(o, row, x, y);
    return;
  }
  if (InIntegers<W>(o.w, [&](auto dot) HWY_ATTR { IntegerPanels<W, dot()>(o, x, y, r); })) return;
  for (size_t v = r.begin * kPanelVectors; v < r.end * kPanelVectors; v += kGroup) {
    Panel<W>(o, x, y, v);
  }
}

void Run(const Linear& o, Real* frame, Range r) {
  WithWeights(o.w.dtype, [&](auto type) HWY_ATTR { RunAs<decltype(type)>(o, frame, r); });
}

template <class W>
HWY_NOINLINE void RunManyAs(const Linear& o, const Batch<Real>& b, Range r) {
  if (InIntegers<W>(o.w, [&](auto dot) HWY_ATTR { IntegerPanels<W, dot()>(o, b, r); })) return;
  ForRowVectors(r.begin * kPanelVectors, r.end * kPanelVectors, [&](auto n, size_t v) HWY_ATTR {
    PanelProducts<W, n()>(
        o.w, v, b.count, [&](size_t s) HWY_ATTR { return b.frames[s] + o.x; },
        [&](size_t s, const V(&sums)[n()]) HWY_ATTR {
          for (size_t i = 0; i < n(); ++i) {
            Store(o, b.frames[s] + o.y, (v + i) * kLanes, sums[i]);
          }
        },
        b.ahead);
  });
}

void Run(const Linear& o, const Batch<Real>& b, Range r) {
  if (o.w.layout == Layout::rows || b.count == 1) {
    for (size_t s = 0; s < b.count; ++s) Run(o, b.frames[s], r);
    return;
  }
  WithWeights(o.w.dtype, [&](auto type) HWY_ATTR { RunManyAs<decltype(type)>(o, b, r); });
}

}  // namespace xst::kernels::XST_ARITHMETIC::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
