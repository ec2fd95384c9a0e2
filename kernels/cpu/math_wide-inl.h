// Part of math-inl.h: the functions that are approximated, in double, by their series.

// x = n ln 2 + r, |r| <= ln 2 / 2; expm1(r) is r + r^2 q.
struct ExpParts {
  V scale;  // 2^n
  V expm1_r;
};

HWY_INLINE ExpParts SplitExp(V x) {
  // Adding 1.5 * 2^52 leaves the rounded integer in the low mantissa bits.
  const V magic = Splat(6755399441055744.0);
  const V t = hn::MulAdd(x, Splat(1.4426950408889634), magic);
  const V n = hn::Sub(t, magic);
  // The high part of ln 2 has few bits, so that n times it is exact.
  V r = hn::NegMulAdd(n, Splat(0.693145751953125), x);
  r = hn::NegMulAdd(n, Splat(1.42860682030941723e-6), r);
  const V q = Polynomial(r, 1.0 / 2, 1.0 / 6, 1.0 / 24, 1.0 / 120, 1.0 / 720, 1.0 / 5040,
                         1.0 / 40320, 1.0 / 362880, 1.0 / 3628800);
  const VI exponent = hn::Sub(hn::BitCast(DI(), t), hn::BitCast(DI(), magic));
  const VI bits = hn::ShiftLeft<52>(hn::Add(exponent, hn::Set(DI(), 1023)));
  return {hn::BitCast(D(), bits), hn::MulAdd(hn::Mul(r, r), q, r)};
}

// e^x; beyond the ends of double the value there.
HWY_INLINE V Exp(V x) {
  const ExpParts e = SplitExp(AtLeast(AtMost(x, Splat(709.0)), Splat(-708.0)));
  return hn::Mul(hn::Add(e.expm1_r, Splat(1.0)), e.scale);
}

// e^x - 1 for x <= 0.
HWY_INLINE V Expm1NonPositive(V x) {
  const ExpParts e = SplitExp(AtLeast(x, Splat(-60.0)));
  return hn::MulAdd(e.expm1_r, e.scale, hn::Sub(e.scale, Splat(1.0)));
}

// ln(1 + x) for 0 <= x <= 1, by 2 atanh(x / (2 + x)).
HWY_INLINE V Log1pUnit(V x) {
  const V s = Divide(x, hn::Add(x, Splat(2.0)));
  const V r = Polynomial(hn::Mul(s, s), 1.0, 1.0 / 3, 1.0 / 5, 1.0 / 7, 1.0 / 9, 1.0 / 11, 1.0 / 13,
                         1.0 / 15, 1.0 / 17, 1.0 / 19, 1.0 / 21, 1.0 / 23);
  return hn::Mul(hn::Add(s, s), r);
}

HWY_INLINE V Tanh(V x) {
  const V e = Expm1NonPositive(hn::Mul(Splat(-2.0), hn::Abs(x)));
  return hn::CopySign(Divide(e, hn::Add(e, Splat(2.0))), x);
}

// 2 / sqrt(pi) e^-t x (1 + 2t/3 (1 + 2t/5 (1 + 2t/7 (...)))) with t = x^2: no term is negative.
HWY_INLINE V Erf(V x) {
  const V a = AtMost(hn::Abs(x), Splat(5.0));
  const V t = hn::Mul(a, a);
  V sum = Splat(1.0);
  for (int odd = 181; odd >= 3; odd -= 2) {
    sum = hn::MulAdd(hn::Mul(t, Splat(2.0 / odd)), sum, Splat(1.0));
  }
  const V erf = hn::Mul(hn::Mul(Splat(1.1283791670955126), Exp(hn::Neg(t))), hn::Mul(a, sum));
  // From 5 on it is 1 to within 2e-12; what multiplies it may be large.
  return hn::CopySign(hn::IfThenElse(hn::Ge(a, Splat(5.0)), Splat(1.0), erf), x);
}
