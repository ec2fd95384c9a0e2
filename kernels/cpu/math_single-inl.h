// Part of math-inl.h: the functions that are approximated, in float.

// x = n ln 2 + r, |r| <= ln 2 / 2; expm1(r) is r + r^2 q.
struct ExpParts {
  VI n;
  V rounded;  // n
  V expm1_r;
};

HWY_INLINE ExpParts SplitExp(V x) {
  // Adding 1.5 * 2^23 leaves the rounded integer in the low mantissa bits.
  const V magic = Splat(12582912.0f);
  const V t = hn::MulAdd(x, Splat(1.44269502f), magic);
  const V n = hn::Sub(t, magic);
  // The high part of ln 2 has few bits, so that n times it is exact.
  V r = hn::NegMulAdd(n, Splat(0.693359375f), x);
  r = hn::NegMulAdd(n, Splat(-0.000212194442f), r);
  const V q = Polynomial(r, 0.5f, 0.166665733f, 0.0416665487f, 0.00836377405f, 0.00139269268f);
  return {hn::Sub(hn::BitCast(DI(), t), hn::BitCast(DI(), magic)), n,
          hn::MulAdd(hn::Mul(r, r), q, r)};
}

// 2^n for a normal result.
HWY_INLINE V PowerOfTwo(VI n) {
  return hn::BitCast(D(), hn::ShiftLeft<23>(hn::Add(n, hn::Set(DI(), 127))));
}

// e^x; 0 and infinity at the ends. 1.25 ulp.
HWY_INLINE V Exp(V x) {
  x = AtLeast(AtMost(x, Splat(90.0f)), Splat(-105.0f));
  const ExpParts e = SplitExp(x);
#if HWY_TARGET == HWY_AVX3
  return V{_mm512_scalef_ps(hn::Add(e.expm1_r, Splat(1.0f)).raw, e.rounded.raw)};
#else
  const VI half = hn::ShiftRight<1>(e.n);  // 2^n alone may overflow where e^x does not
  const V y = hn::Mul(hn::Add(e.expm1_r, Splat(1.0f)), PowerOfTwo(half));
  return hn::Mul(y, PowerOfTwo(hn::Sub(e.n, half)));
#endif
}

// e^x - 1 for x <= 0. 1.25 ulp.
HWY_INLINE V Expm1NonPositive(V x) {
  x = AtLeast(x, Splat(-30.0f));
  const ExpParts e = SplitExp(x);
  const V scale = PowerOfTwo(e.n);
  return hn::MulAdd(e.expm1_r, scale, hn::Sub(scale, Splat(1.0f)));
}

// ln(1 + x) for 0 <= x <= 1, by 2 atanh(x / (2 + x)). 2 ulp.
HWY_INLINE V Log1pUnit(V x) {
  const V s = Divide(x, hn::Add(x, Splat(2.0f)));
  const V t = hn::Mul(s, s);
  const V r = Polynomial(t, 0.333333343f, 0.199998528f, 0.142961785f, 0.108532876f, 0.11612165f);
  const V s2 = hn::Add(s, s);
  return hn::MulAdd(hn::Mul(s2, t), r, s2);
}

// 1.75 ulp.
HWY_INLINE V Tanh(V x) {
  const V a = hn::Abs(x);
  const V t = hn::Mul(x, x);
  const V p =
      Polynomial(t, -0.333333313f, 0.133331135f, -0.0539094284f, 0.0213093888f, -0.00661022775f);
  const V small = hn::MulAdd(hn::Mul(x, t), p, x);
  const V e = Exp(hn::Add(a, a));
  const V large = hn::Sub(Splat(1.0f), Divide(Splat(2.0f), hn::Add(e, Splat(1.0f))));
  return hn::IfThenElse(hn::Lt(a, Splat(0.55f)), small, hn::CopySign(large, x));
}

// x + x P(x^2) below 1, 1 - exp(polynomial) above. 1.5 ulp.
HWY_INLINE V Erf(V x) {
  const V a = hn::Abs(x);
  const V t = hn::Mul(x, x);
  const V p = Polynomial(t, 0.128379166f, -0.37612626f, 0.112835944f, -0.0268542115f,
                         0.00518908724f, -0.00080168643f, 7.87587487e-05f);
  const V small = hn::MulAdd(x, p, x);
  const V l =
      Polynomial(AtMost(a, Splat(4.0f)), -0.00032013806f, 1.13023341f, 0.631826043f, 0.110080086f,
                 -0.0264211353f, 0.0047595962f, -0.00059680565f, 4.60580413e-05f, -1.6371514e-06f);
  const V large = hn::Sub(Splat(1.0f), Exp(hn::Neg(l)));
  return hn::IfThenElse(hn::Lt(a, Splat(1.0f)), small, hn::CopySign(large, x));
}
