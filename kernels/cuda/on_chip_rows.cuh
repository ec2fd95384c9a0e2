// Matrix-vector products from shared memory by groups of 8 threads, and the layer norm in front.
#pragma once

#include "kernels/cuda/math.cuh"
#include "kernels/cuda/on_chip_shape.h"
#include "kernels/cuda/weights.cuh"

namespace xst::kernels::cuda {

// 1/y and x/y by the hardware's reciprocal: relative error below 1.2e-7 and 1.8e-7; 0 for |y| >
// 2^126. 1/sqrt likewise below 1.4e-7.
__device__ __forceinline__ float FastDivide(float x, float y) { return __fdividef(x, y); }
__device__ __forceinline__ double FastDivide(double x, double y) { return x / y; }
__device__ __forceinline__ float InverseRoot(float v) { return rsqrtf(v); }
__device__ __forceinline__ double InverseRoot(double v) { return 1 / sqrt(v); }
// exp(a) to 2^-22 + 2^-24 |a|: for weights that fade as |a| grows.
__device__ __forceinline__ float FastExp(float a) { return __expf(a); }
__device__ __forceinline__ double FastExp(double a) { return exp(a); }
template <class Real>
__device__ __forceinline__ Real FastSilu(Real a) {
  return FastDivide(a, Real(1) + FastExp(-a));
}

// silu of a channel's convolution; the history, oldest first, moves on by v.
template <class Real>
__device__ __forceinline__ Real Convolve(Real* history, const Real* taps, uint32_t kernel,
                                         Real bias, Real v) {
  Real sum = bias;
  for (uint32_t j = 0; j + 1 < kernel; ++j) {
    const Real past = history[j];
    sum = MulAdd(past, taps[j], sum);
    if (j > 0) history[j - 1] = past;
  }
  if (kernel > 1) history[kernel - 2] = Rounded(v);
  return FastSilu(MulAdd(v, taps[kernel - 1], sum));
}

// Four neighbours of an array, 16-byte (Real float) or 4-element aligned.
template <class Real>
struct Four {
  Real v[4];
};
__device__ __forceinline__ Four<float> LoadFour(const float* p) {
  const float4 f = *reinterpret_cast<const float4*>(p);
  return {{f.x, f.y, f.z, f.w}};
}
__device__ __forceinline__ Four<double> LoadFour(const double* p) {
  const double2 a = *reinterpret_cast<const double2*>(p);
  const double2 b = *reinterpret_cast<const double2*>(p + 2);
  return {{a.x, a.y, b.x, b.y}};
}
__device__ __forceinline__ void StoreFour(float* p, const Four<float>& f) {
  *reinterpret_cast<float4*>(p) = make_float4(f.v[0], f.v[1], f.v[2], f.v[3]);
}
__device__ __forceinline__ void StoreFour(double* p, const Four<double>& f) {
  *reinterpret_cast<double2*>(p) = make_double2(f.v[0], f.v[1]);
  *reinterpret_cast<double2*>(p + 2) = make_double2(f.v[2], f.v[3]);
}

// Four neighbouring weights as they are stored.
template <class W>
struct Packed;
template <>
struct Packed<WeightF32> {
  using Word = float4;
  static __device__ __forceinline__ Four<float> Numbers(float4 w) { return {{w.x, w.y, w.z, w.w}}; }
};
template <>
struct Packed<WeightBf16> {
  using Word = uint2;
  static __device__ __forceinline__ Four<float> Numbers(uint2 w) {
    return {{__uint_as_float(w.x << 16), __uint_as_float(w.x & 0xffff0000u),
             __uint_as_float(w.y << 16), __uint_as_float(w.y & 0xffff0000u)}};
  }
};
template <>
struct Packed<WeightI16> {
  using Word = uint2;
  static __device__ __forceinline__ Four<float> Numbers(uint2 w) {
    return {{float(int16_t(w.x)), float(int16_t(w.x >> 16)), float(int16_t(w.y)),
             float(int16_t(w.y >> 16))}};
  }
};
template <>
struct Packed<WeightI8> {
  using Word = uint32_t;
  static __device__ __forceinline__ Four<float> Numbers(uint32_t w) {
    return {
        {float(int8_t(w)), float(int8_t(w >> 8)), float(int8_t(w >> 16)), float(int8_t(w >> 24))}};
  }
};
template <class W>
__device__ __forceinline__ typename Packed<W>::Word LoadPacked(const uint8_t* matrix,
                                                               size_t element) {
  return *reinterpret_cast<const typename Packed<W>::Word*>(matrix +
                                                            element * sizeof(typename W::Element));
}

template <class Real>
__device__ __forceinline__ void AddProducts(const Four<float>& w, const Four<Real>& x,
                                            Real (&sum)[4]) {
#pragma unroll
  for (int i = 0; i < 4; ++i) sum[i] = MulAdd(Real(w.v[i]), x.v[i], sum[i]);
}
template <class Real>
__device__ __forceinline__ Real Total(const Real (&v)[4]) {
  return (v[0] + v[1]) + (v[2] + v[3]);
}

// The sum over the kLanes neighbours; for several values at once, so that they overlap.
template <int kLanes, int kN, class Real>
__device__ __forceinline__ void SumLanes(Real (&v)[kN]) {
#pragma unroll
  for (int d = kLanes / 2; d > 0; d /= 2) {
    Real other[kN];
#pragma unroll
    for (int i = 0; i < kN; ++i) other[i] = __shfl_xor_sync(0xffffffffu, v[i], d);
#pragma unroll
    for (int i = 0; i < kN; ++i) v[i] += other[i];
  }
}

// Mean and scale of a layer norm, apart: the values are taken relative to `shift`, the mean of the
// first 8, which is within a few deviations of the true mean, and is exact if all are equal; the
// mean of what is left is `delta`.
template <class Real>
struct NormStats {
  Real shift, delta, scale;
};
template <class Real>
__device__ __forceinline__ Real Shift(const Real* x, uint32_t width) {
  if (width < 8) return x[0];
  const Four<Real> a = LoadFour(x), b = LoadFour(x + 4);
  return (((a.v[0] + a.v[1]) + (a.v[2] + a.v[3])) + ((b.v[0] + b.v[1]) + (b.v[2] + b.v[3]))) *
         Real(0.125);
}
template <class Real>
__device__ __forceinline__ NormStats<Real> StatsOf(Real shift, Real sum, Real squares,
                                                   uint32_t width, float eps) {
  const Real inverse = Real(1) / Real(width);
  const Real delta = sum * inverse;
  const Real variance = fmax(MulAdd(-delta, delta, squares * inverse), Real(0));
  return {shift, delta, InverseRoot(variance + Real(eps))};
}

// By kLanes threads that lie together, all of which get it.
template <int kLanes, class Real>
__device__ __forceinline__ NormStats<Real> StatsByLanes(const Real* x, uint32_t width, float eps,
                                                        uint32_t lane) {
  const Real shift = Shift(x, width);
  Real v[2] = {0, 0};
#pragma unroll 4
  for (uint32_t i = 4 * lane; i < width; i += 4 * kLanes) {
    const Four<Real> f = LoadFour(x + i);
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      const Real c = i + j < width ? f.v[j] - shift : Real(0);
      v[0] += c;
      v[1] = MulAdd(c, c, v[1]);
    }
  }
  SumLanes<kLanes>(v);
  return StatsOf(shift, v[0], v[1], width, eps);
}

// A matrix in a CTA's image: rows of Pad4(cols) elements.
template <class Real>
struct ImageMatrix {
  const uint8_t* data;
  const Real* scale;  // of quanta
  const Real* bias;   // or null
  const Real* sum;    // of a row times the norm's weights; null without a norm
  const Real* norm;   // the norm's weights
  float eps;
};

// emit(row, W norm(x) + bias, lane of 8), by all threads of a warp together, for rows up to the
// next multiple of 4.
template <class W, class Real, class Emit>
__device__ __forceinline__ void NormedRows(const ImageMatrix<Real>& m, const Real* x,
                                           uint32_t width, uint32_t rows, const Emit& emit) {
  const uint32_t lane = threadIdx.x & 7, group = threadIdx.x / 8;
  const uint32_t warp_row = threadIdx.x / 32 * 4;
  const uint32_t stride = OnChipShape::Pad4(width);
  if (warp_row >= rows) return;
  NormStats<Real> stats{0, 0, 1};
  if (m.sum) stats = StatsByLanes<8>(x, width, m.eps, lane);
  for (uint32_t base = 0; base + warp_row < rows; base += blockDim.x / 8) {
    const uint32_t row = base + group < rows ? base + group : rows - 1;
    Real dots[4] = {};
#pragma unroll 4
    for (uint32_t col = 4 * lane; col < stride; col += 32) {
      const Four<float> numbers =
          Packed<W>::Numbers(LoadPacked<W>(m.data, size_t{row} * stride + col));
      Four<Real> v = LoadFour(x + col);
      if (m.norm) {
        const Four<Real> norm = LoadFour(m.norm + col);
#pragma unroll
        for (int i = 0; i < 4; ++i) v.v[i] = (v.v[i] - stats.shift) * norm.v[i];
      }
      AddProducts(numbers, v, dots);
    }
    Real v[1] = {Total(dots)};
    SumLanes<8>(v);
    Real y = v[0];
    if (m.sum) y = MulAdd(-stats.delta, m.sum[row], y) * stats.scale;
    if constexpr (W::kScaled) y *= m.scale[row];
    if (m.bias) y += m.bias[row];
    emit(base + group, y, lane);
  }
}

// emit(row, W x [+ bias], lane of kLanes) like NormedRows, without a norm.
template <class W, int kLanes, class Real, class Emit>
__device__ __forceinline__ void Rows(const ImageMatrix<Real>& m, const Real* x, uint32_t width,
                                     uint32_t rows, const Emit& emit) {
  const uint32_t lane = threadIdx.x % kLanes, group = threadIdx.x / kLanes;
  const uint32_t warp_row = threadIdx.x / 32 * (32 / kLanes);
  const uint32_t stride = OnChipShape::Pad4(width);
  for (uint32_t base = 0; base + warp_row < rows; base += blockDim.x / kLanes) {
    const uint32_t row = base + group < rows ? base + group : rows - 1;
    Real dots[4] = {};
#pragma unroll 4
    for (uint32_t col = 4 * lane; col < stride; col += 4 * kLanes) {
      AddProducts(Packed<W>::Numbers(LoadPacked<W>(m.data, size_t{row} * stride + col)),
                  LoadFour(x + col), dots);
    }
    Real v[1] = {Total(dots)};
    SumLanes<kLanes>(v);
    Real y = v[0];
    if constexpr (W::kScaled) y *= m.scale[row];
    if (m.bias) y += m.bias[row];
    emit(base + group, y, lane);
  }
}

}  // namespace xst::kernels::cuda
