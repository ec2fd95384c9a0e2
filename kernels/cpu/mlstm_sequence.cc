// The mLSTM cell over several steps of one stream at once. With b_t the sum of logsigmoid(f~) up to
// step t, a_s = i~_s - b_s and top_t = max(m, a_0, ..., a_t), the stabiliser of step t is
// m_t = b_t + top_t and, up to the scale of k or q,
//   h_t = (exp(m - top_t) q_t C + sum over s <= t of exp(a_s - top_t) (q_t . k_s) v_s) / divisor
// so no exponent is above 0, and each is a difference of numbers of these steps alone.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/mlstm_sequence.cc"
#include "kernels/cpu/targets.h"

#include "hwy/foreach_target.h"

#include <cmath>

#include "kernels/cpu/lanes-inl.h"
#include "kernels/cpu/math-inl.h"
#include "kernels/cpu/panel_many-inl.h"
#include "kernels/kernels.h"

HWY_BEFORE_NAMESPACE();
namespace xst::kernels::XST_ARITHMETIC::HWY_NAMESPACE {

struct StepGates {
  // a and top as a sum of two: b may reach hundreds where differences near 0 decide.
  alignas(64) Real a_high[kSequence], a_low[kSequence];
  Real top_high[kSequence], top_low[kSequence];
  Real before[kSequence];  // exp(m - top_t): what C from before weighs in h_t
  Real floor[kSequence];   // exp(-m_t)
  Real last[kSequence];    // exp(a_s + b_last - m_last): what step s weighs in C at the end
  Real decay;              // what C from before weighs there
};

// The gates of head h, `steps` of them; moves the stabiliser.
HWY_NOINLINE void Scan(const MlstmCell& o, const Sequence<Real>& s, size_t h, StepGates& g) {
  alignas(64) Real i[kSequence], lf[kSequence];
  for (size_t t = 0; t < s.count; ++t) {
    const Real* gates = s.first + t * s.stride + o.gates + h;
    i[t] = gates[0];
    lf[t] = gates[o.heads];
  }
  const V cap = Splat(o.gate_cap);
  ForLanes(0, s.count, [&](size_t t, auto lanes) HWY_ATTR {
    V vi = lanes.Load(i + t), vf = lanes.Load(lf + t);
    if (o.gate_cap > 0) {
      vi = hn::Mul(cap, Tanh(Divide(vi, cap)));
      vf = hn::Mul(cap, Tanh(Divide(vf, cap)));
    }
    lanes.Store(vi, i + t);
    lanes.Store(LogSigmoid(vf), lf + t);
  });
  Real& m = s.state[o.m + h];
  const double m_before = m;
  double a[kSequence], b = 0, top = m_before;
  for (size_t t = s.count; t < kSequence; ++t) g.a_high[t] = g.a_low[t] = 0;
  for (size_t t = 0; t < s.count; ++t) {
    b += lf[t];
    a[t] = i[t] - b;
    top = HWY_MAX(top, a[t]);
    g.a_high[t] = static_cast<Real>(a[t]);
    g.a_low[t] = static_cast<Real>(a[t] - g.a_high[t]);
    g.top_high[t] = static_cast<Real>(top);
    g.top_low[t] = static_cast<Real>(top - g.top_high[t]);
    g.before[t] = static_cast<Real>(m_before - top);
    g.floor[t] = static_cast<Real>(-(b + top));
  }
  // What is kept with this m is weighed by that very number.
  m = static_cast<float>(b + top);
  for (size_t t = 0; t < s.count; ++t) g.last[t] = static_cast<Real>(a[t] + (b - m));
  Real decay[1] = {static_cast<Real>(m_before + (b - m))};
  for (Real* e : {g.before, g.floor, g.last}) {
    ForLanes(0, s.count,
             [&](size_t t, auto lanes) HWY_ATTR { lanes.Store(Exp(lanes.Load(e + t)), e + t); });
  }
  ForLanes(0, 1, [&](size_t, auto lanes) HWY_ATTR { lanes.Store(Exp(lanes.Load(decay)), decay); });
  g.decay = decay[0];
}

// Vectors [first, first + kVectors) of rows `stride` apart.
template <size_t kVectors>
HWY_INLINE Columns<kVectors> RowsAt(const Real* first, size_t stride) {
  Columns<kVectors> c;
  for (size_t i = 0; i < kVectors; ++i) c.first[i] = first + i * kLanes;
  c.stride = stride;
  return c;
}

// Products are summed one after the other within blocks of this many columns, then the blocks.
inline constexpr size_t kProductBlock = 64;

// sums[s][i] += the sum over k < columns of w(i, k) * x[s][k].
template <size_t kVectors>
HWY_INLINE void AddProduct(Columns<kVectors> w, size_t columns, const Real* const* x,
                           V (*sums)[kVectors], size_t streams) {
  const Real* inputs[kManyStreams];
  for (size_t k = 0; k < columns; k += kProductBlock) {
    for (size_t s = 0; s < streams; ++s) inputs[s] = x[s] + k;
    AddBlocks<1>(w, HWY_MIN(kProductBlock, columns - k), inputs, sums, streams);
    for (const Real*& first : w.first) first += kProductBlock * w.stride;
  }
}

// f(n, i) for groups of n() vectors from element i on that cover [0, size).
template <class F>
HWY_INLINE void ForVectors(size_t size, const F& f) {
  size_t i = 0;
  for (; i + kManyVectors * kLanes <= size; i += kManyVectors * kLanes) {
    f(std::integral_constant<size_t, kManyVectors>(), i);
  }
  for (; i < size; i += kLanes) f(std::integral_constant<size_t, 1>(), i);
}

// Stores v to the elements from i on that are below size.
HWY_INLINE void StoreBelow(V v, Real* to, size_t i, size_t size) {
  ForLanes(i, HWY_MIN(i + kLanes, size),
           [&](size_t at, auto lanes) HWY_ATTR { lanes.Store(v, to + at); });
}

class HeadSteps {
 public:
  HWY_INLINE HeadSteps(const MlstmCell& o, const Sequence<Real>& s, size_t h)
      : o_(o),
        s_(s),
        q_(s.first + o.q + h * o.dk),
        k_(s.first + o.k + h * o.dk),
        v_(s.first + o.v + h * o.dv),
        h_(s.first + o.h + h * o.dv),
        c_(s.state + o.c + h * o.dk * o.stride_c),
        n_(s.state + o.n + h * o.stride_n),
        root_(1 / std::sqrt(static_cast<Real>(o.dk))),
        keys_(s.scratch),
        queries_(keys_ + o.dk * kSequence),
        weights_(queries_ + o.dk * kSequence) {
    Scan(o, s, h, g_);
  }

  HWY_INLINE void Run() {
    PlaceKeys();
    for (size_t t = 0; t < s_.count; t += kManyStreams) {
      Outputs(t, HWY_MIN(kManyStreams, s_.count - t));
    }
    UpdateState();
  }

 private:
  // keys_[i][t] = k_t[i], zeros for steps that do not exist; queries_[t] = q_t exp(m - top_t).
  HWY_INLINE void PlaceKeys() {
    const size_t end = RoundUp16(static_cast<uint32_t>(s_.count));
    for (size_t t = 0; t < end; ++t) {
      const Real* k = k_ + t * s_.stride;
      for (size_t i = 0; i < o_.dk; ++i) keys_[i * kSequence + t] = t < s_.count ? k[i] : 0;
    }
    for (size_t t = 0; t < s_.count; ++t) {
      const V before = Splat(g_.before[t] * (o_.scale_key ? 1 : root_));
      ForLanes(0, o_.dk, [&](size_t i, auto lanes) HWY_ATTR {
        lanes.Store(hn::Mul(before, lanes.Load(q_ + t * s_.stride + i)), queries_ + t * o_.dk + i);
      });
    }
  }

  // weights_[t][s] = exp(a_s - top_t) (q_t . k_s) for s <= t, 0 behind, of steps [t, t + n).
  HWY_INLINE void Scores(size_t first, size_t n) {
    const Real* queries[kManyStreams];
    for (size_t j = 0; j < n; ++j) queries[j] = q_ + (first + j) * s_.stride;
    constexpr size_t kVectors = HWY_MIN(kManyVectors, kPanelVectors);
    for (size_t s = 0; s < first + n; s += kVectors * kLanes) {
      V sums[kManyStreams][kVectors];
      for (auto& row : sums) {
        for (V& sum : row) sum = hn::Zero(D());
      }
      AddProduct(RowsAt<kVectors>(keys_ + s, kSequence), o_.dk, queries, sums, n);
      for (size_t j = 0; j < n; ++j) {
        const size_t t = first + j;
        const V high = Splat(g_.top_high[t]), low = Splat(g_.top_low[t]);
        for (size_t i = 0; i < kVectors; ++i) {
          const size_t at = s + i * kLanes;
          const V difference = hn::Add(hn::Sub(hn::Load(D(), g_.a_high + at), high),
                                       hn::Sub(hn::Load(D(), g_.a_low + at), low));
          V w = hn::Mul(hn::Mul(Exp(difference), Splat(root_)), sums[j][i]);
          if (at + kLanes > t + 1) {
            w = at > t ? hn::Zero(D()) : hn::IfThenElseZero(hn::FirstN(D(), t + 1 - at), w);
          }
          hn::Store(w, D(), weights_ + t * kSequence + at);
        }
      }
    }
  }

  // 1 / divisor of h_t, whose weights reach up to `end`.
  HWY_INLINE Real Scale(size_t t, size_t end) const {
    V sum = hn::Zero(D());
    for (size_t s = 0; s < end; s += kLanes) {
      sum = hn::Add(sum, hn::Load(D(), weights_ + t * kSequence + s));
    }
    ForLanes(0, o_.dk, [&](size_t i, auto lanes) HWY_ATTR {
      sum = hn::MulAdd(lanes.Load(queries_ + t * o_.dk + i), lanes.Load(n_ + i), sum);
    });
    return 1 / (HWY_MAX(g_.floor[t], std::fabs(Sum(sum))) + o_.eps);
  }

  // h of steps [first, first + n), n <= kManyStreams.
  HWY_INLINE void Outputs(size_t first, size_t n) {
    Scores(first, n);
    const Real *queries[kManyStreams], *weights[kManyStreams];
    Real scale[kManyStreams];
    for (size_t j = 0; j < n; ++j) {
      queries[j] = queries_ + (first + j) * o_.dk;
      weights[j] = weights_ + (first + j) * kSequence;
      scale[j] = Scale(first + j, first + j + 1);
    }
    ForVectors(o_.dv, [&](auto vectors, size_t i) HWY_ATTR {
      V sums[kManyStreams][vectors()];
      for (auto& row : sums) {
        for (V& sum : row) sum = hn::Zero(D());
      }
      AddProduct(RowsAt<vectors()>(c_ + i, o_.stride_c), o_.dk, queries, sums, n);
      AddProduct(RowsAt<vectors()>(v_ + i, s_.stride), first + n, weights, sums, n);
      for (size_t j = 0; j < n; ++j) {
        for (size_t part = 0; part < vectors(); ++part) {
          StoreBelow(hn::Mul(sums[j][part], Splat(scale[j])), h_ + (first + j) * s_.stride,
                     i + part * kLanes, o_.dv);
        }
      }
    });
  }

  // C = decay C + sum over s of last_s k_s v_s^T; n likewise.
  HWY_INLINE void UpdateState() {
    for (size_t t = 0; t < s_.count; ++t) g_.last[t] *= o_.scale_key ? root_ : 1;
    ForLanes(0, o_.dk, [&](size_t i, auto lanes) HWY_ATTR {
      V sum = hn::Mul(Splat(g_.decay), lanes.Load(n_ + i));
      for (size_t t = 0; t < s_.count; ++t) {
        sum = hn::MulAdd(Splat(g_.last[t]), lanes.Load(k_ + t * s_.stride + i), sum);
      }
      lanes.Store(sum, n_ + i);
    });
    for (size_t i = 0; i < o_.dk; ++i) {
      Real* row = keys_ + i * kSequence;
      ForLanes(0, s_.count, [&](size_t t, auto lanes) HWY_ATTR {
        lanes.Store(hn::Mul(lanes.Load(row + t), lanes.Load(g_.last + t)), row + t);
      });
    }
    for (size_t first = 0; first < o_.dk; first += kManyStreams) {
      const size_t n = HWY_MIN(kManyStreams, o_.dk - first);
      const Real* keys[kManyStreams];
      for (size_t j = 0; j < n; ++j) keys[j] = keys_ + (first + j) * kSequence;
      ForVectors(o_.dv, [&](auto vectors, size_t i) HWY_ATTR {
        V sums[kManyStreams][vectors()];
        for (size_t j = 0; j < n; ++j) {
          const Real* row = c_ + (first + j) * o_.stride_c + i;
          for (size_t part = 0; part < vectors(); ++part) {
            sums[j][part] = hn::Mul(Splat(g_.decay), LoadWhole(row + part * kLanes));
          }
        }
        AddProduct(RowsAt<vectors()>(v_ + i, s_.stride), s_.count, keys, sums, n);
        for (size_t j = 0; j < n; ++j) {
          for (size_t part = 0; part < vectors(); ++part) {
            StoreBelow(sums[j][part], c_ + (first + j) * o_.stride_c, i + part * kLanes, o_.dv);
          }
        }
      });
    }
  }

  const MlstmCell& o_;
  const Sequence<Real>& s_;
  const Real *q_, *k_, *v_;  // of step 0
  Real *h_, *c_, *n_;
  const Real root_;
  Real* keys_;     // [dk][kSequence]
  Real* queries_;  // [kSequence][dk]
  Real* weights_;  // [kSequence][kSequence]
  StepGates g_;
};

void Run(const MlstmCell& o, const Sequence<Real>& s, Range r) {
  for (size_t h = r.begin; h < r.end; ++h) HeadSteps(o, s, h).Run();
}

}  // namespace xst::kernels::XST_ARITHMETIC::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
