// Slices of the weights for every CTA, from the device copy of the weights.
#include "kernels/cuda/on_chip.h"
#include "kernels/cuda/weights.cuh"

namespace xst::kernels::cuda {
namespace {

// A stored number before its scale, or the weight itself where the image holds floats.
__device__ float Quantum(const Matrix& m, uint32_t row, uint32_t col) {
  const uint32_t line = m.dtype == DType::f32 ? 16 : m.dtype == DType::i8 ? 64 : 32;
  const size_t at = size_t{row} * ((m.cols + line - 1) / line * line) + col;
  switch (m.dtype) {
    case DType::f32:
      return static_cast<const float*>(m.data)[at];
    case DType::bf16:
      return WeightBf16::Number(static_cast<const uint16_t*>(m.data)[at]);
    case DType::i16:
      return static_cast<const int16_t*>(m.data)[at];
    case DType::i8:
      return static_cast<const int8_t*>(m.data)[at];
  }
  return 0;
}
__device__ float Weight(const Matrix& m, uint32_t row, uint32_t col) {
  const float q = Quantum(m, row, col);
  return m.scale ? q * m.scale[row] : q;
}

__device__ void Put(uint8_t* to, DType type, size_t at, float v) {
  switch (type) {
    case DType::f32:
      reinterpret_cast<float*>(to)[at] = v;
      break;
    case DType::bf16:
      reinterpret_cast<uint16_t*>(to)[at] = static_cast<uint16_t>(__float_as_uint(v) >> 16);
      break;
    case DType::i16:
      reinterpret_cast<int16_t*>(to)[at] = static_cast<int16_t>(v);
      break;
    case DType::i8:
      reinterpret_cast<int8_t*>(to)[at] = static_cast<int8_t>(v);
      break;
  }
}

// One CTA packs the image of one CTA.
template <class Real>
class Packer {
 public:
  __device__ Packer(const OnChipShape& s, DType type, uint8_t* image)
      : s_(s), type_(type), image_(image + size_t{blockIdx.x} * s.image), rank_(blockIdx.x) {}

  __device__ Real* At(uint32_t offset) const { return reinterpret_cast<Real*>(image_ + offset); }

  template <class F>
  __device__ void Fill(uint32_t offset, uint32_t n, const F& f) const {
    for (uint32_t i = threadIdx.x; i < n; i += blockDim.x) At(offset)[i] = f(i);
  }
  __device__ void Norms(uint32_t offset, const float* w, float add, uint32_t n) const {
    Fill(offset, n, [&](uint32_t i) { return w ? Real(w[i]) + Real(add) : Real(1); });
  }
  // Row i of the image is row source(i) of the matrix, for i < rows; ~0u: none.
  template <class F>
  __device__ void Rows(uint32_t to, uint32_t scales, uint32_t biases, uint32_t sums,
                       const Matrix& m, const float* bias, uint32_t rows, const F& source,
                       const float* norm, float norm_add) const {
    const uint32_t stride = OnChipShape::Pad4(m.cols);
    const bool scaled = type_ == DType::i16 || type_ == DType::i8;
    const auto number = [&](uint32_t row, uint32_t col) {
      return type_ == DType::f32 ? Weight(m, row, col) : Quantum(m, row, col);
    };
    for (uint32_t i = threadIdx.x; i < rows * m.cols; i += blockDim.x) {
      const uint32_t row = source(i / m.cols), col = i % m.cols;
      if (row == ~0u) continue;
      Put(image_ + to, type_, size_t{i / m.cols} * stride + col, number(row, col));
    }
    for (uint32_t i = threadIdx.x; i < rows; i += blockDim.x) {
      const uint32_t row = source(i);
      if (row == ~0u) continue;
      if (scaled) At(scales)[i] = m.scale[row];
      if (bias) At(biases)[i] = bias[row];
      if (sums == ~0u) continue;
      double sum = 0;
      for (uint32_t col = 0; col < m.cols; ++col) {
        const double by = norm ? double(norm[col]) + double(norm_add) : 1.0;
        // As the kernel multiplies: by the norm's weight as Real.
        sum += double(number(row, col)) * double(Real(by));
      }
      At(sums)[i] = Real(sum);
    }
  }

  const OnChipShape& s_;
  DType type_;
  uint8_t* image_;
  uint32_t rank_;
};

struct MlstmSource {
  Norm norm;
  Linear up, gates, down;
  Conv conv;
  BlockLinear q, k, v;
  MlstmOut out;
};
struct SlstmSource {
  Norm norm, ff_norm;
  Conv conv;
  SlstmInput input;
  SlstmCell cell;
  SlstmOut out;
  Linear up, down;
};

template <class Real>
__global__ void PackMlstm(const OnChipShape s, DType type, uint8_t* image, uint32_t at,
                          const MlstmSource b) {
  const Packer<Real> p(s, type, image);
  const uint32_t first = s.First(p.rank_, s.own, s.inner), own = s.own;
  const uint32_t count = s.Count(p.rank_, s.own, s.inner);
  p.Norms(at + s.m.norm, b.norm.weight, b.norm.weight_offset, s.width);
  p.Rows(
      at + s.m.up, at + s.m.up_scale, at + s.m.up_bias, at + s.m.up_sum, b.up.w, b.up.bias, 2 * own,
      [&](uint32_t i) {
        const uint32_t of = i % own;
        return of >= count ? ~0u : i < own ? first + of : s.inner + first + of;
      },
      b.norm.weight, b.norm.weight_offset);
  if (s.kernel) {
    p.Fill(at + s.m.conv, count * s.kernel, [&](uint32_t i) {
      return Real(b.conv.weight[i % s.kernel * b.conv.stride + first + i / s.kernel]);
    });
    p.Fill(at + s.m.conv_bias, count, [&](uint32_t i) { return Real(b.conv.bias[first + i]); });
  }
  const BlockLinear* qkv[3] = {&b.q, &b.k, &b.v};
  const uint32_t block4 = OnChipShape::Pad4(s.block);
  for (uint32_t which = 0; which < 3; ++which) {
    const BlockLinear& o = *qkv[which];
    float* to = reinterpret_cast<float*>(p.image_ + at + s.m.qkv) + size_t{which} * own * block4;
    for (uint32_t i = threadIdx.x; i < count * s.block; i += blockDim.x) {
      to[i / s.block * block4 + i % s.block] = Weight(o.w, first + i / s.block, i % s.block);
    }
    if (s.qkv_bias) {
      for (uint32_t i = threadIdx.x; i < count; i += blockDim.x) {
        p.At(at + s.m.qkv_bias)[which * own + i] = o.bias[first + i];
      }
    }
  }
  // The gates see c and a: their rows times the q, k and v matrices.
  const uint32_t columns = OnChipShape::Pad4(2 * own);
  for (uint32_t i = threadIdx.x; i < 2 * s.heads * 2 * count; i += blockDim.x) {
    const uint32_t gate = i / (2 * count), col = i % (2 * count);
    const bool of_a = col >= count;
    const uint32_t channel = first + (of_a ? col - count : col);
    const uint32_t base = channel / s.block * s.block, j = channel - base;
    double sum = 0;
    for (uint32_t r = base; r < base + s.block; ++r) {
      if (of_a) {
        sum += double(Weight(b.gates.w, gate, 2 * s.inner + r)) * double(Weight(b.v.w, r, j));
      } else {
        sum += double(Weight(b.gates.w, gate, r)) * double(Weight(b.q.w, r, j));
        sum += double(Weight(b.gates.w, gate, s.inner + r)) * double(Weight(b.k.w, r, j));
      }
    }
    p.At(at + s.m.gate)[size_t{gate} * columns + (of_a ? own + col - count : col)] = Real(sum);
  }
  p.Fill(at + s.m.gate_bias, 2 * s.heads, [&](uint32_t gate) {
    double sum = p.rank_ == 0 && b.gates.bias ? b.gates.bias[gate] : 0;
    if (s.qkv_bias) {
      for (uint32_t which = 0; which < 3; ++which) {
        for (uint32_t c = first; c < first + count; ++c) {
          sum += double(Weight(b.gates.w, gate, which * s.inner + c)) * double(qkv[which]->bias[c]);
        }
      }
    }
    return Real(sum);
  });
  p.Fill(at + s.m.head_norm, count,
         [&](uint32_t i) { return Real(b.out.weight[first + i]) + Real(b.out.weight_offset); });
  p.Fill(at + s.m.skip, count,
         [&](uint32_t i) { return b.out.skip ? Real(b.out.skip[first + i]) : Real(0); });
  const uint32_t row = s.First(p.rank_, s.rows, s.width);
  const uint32_t rows = s.Count(p.rank_, s.rows, s.width);
  p.Rows(
      at + s.m.down, at + s.m.down_scale, at + s.m.down_bias, ~0u, b.down.w, b.down.bias, rows,
      [&](uint32_t i) { return row + i; }, nullptr, 0);
}

template <class Real>
__global__ void PackSlstm(const OnChipShape s, DType type, uint8_t* image, uint32_t at,
                          const SlstmSource b) {
  const Packer<Real> p(s, type, image);
  const uint32_t row = s.First(p.rank_, s.rows, s.width);
  const uint32_t rows = s.Count(p.rank_, s.rows, s.width);
  const uint32_t begin = s.HeadBegin(row, s.s_dim) * s.s_dim;
  const uint32_t count = s.HeadEnd(row, rows, s.s_dim) * s.s_dim - begin;
  p.Norms(at + s.s.norm, b.norm.weight, b.norm.weight_offset, s.width);
  if (s.s_kernel) {
    p.Fill(at + s.s.conv, count * s.s_kernel, [&](uint32_t i) {
      return Real(b.conv.weight[i % s.s_kernel * b.conv.stride + begin + i / s.s_kernel]);
    });
    p.Fill(at + s.s.conv_bias, count, [&](uint32_t i) { return Real(b.conv.bias[begin + i]); });
  }
  const auto source = [&](uint32_t i) {
    const uint32_t channel = row + i / 4;
    return channel / 16 * 64 + i % 4 * 16 + channel % 16;
  };
  p.Rows(at + s.s.w, at + s.s.w_scale, 0, ~0u, b.input.w, nullptr, 4 * rows, source, nullptr, 0);
  p.Rows(at + s.s.r, at + s.s.r_scale, at + s.s.bias, ~0u, b.cell.r, b.cell.bias, 4 * rows, source,
         nullptr, 0);
  p.Norms(at + s.s.group_norm, b.out.weight, 1, s.width);
  if (!s.ff) return;
  p.Norms(at + s.s.ff_norm, b.ff_norm.weight, b.ff_norm.weight_offset, s.width);
  const uint32_t first = s.First(p.rank_, s.own_ff, s.ff);
  const uint32_t own = s.Count(p.rank_, s.own_ff, s.ff);
  p.Rows(
      at + s.s.up, at + s.s.up_scale, at + s.s.up_bias, at + s.s.up_sum, b.up.w, b.up.bias, 2 * own,
      [&](uint32_t i) { return i % 2 * s.ff + first + i / 2; }, b.ff_norm.weight,
      b.ff_norm.weight_offset);
  p.Rows(
      at + s.s.down, at + s.s.down_scale, at + s.s.down_bias, ~0u, b.down.w, b.down.bias, rows,
      [&](uint32_t i) { return row + i; }, nullptr, 0);
}

struct EndsSource {
  Norm post;
  Linear head, encoder;
};
template <class Real>
__global__ void PackEnds(const OnChipShape s, DType type, uint8_t* image, const EndsSource b) {
  const Packer<Real> p(s, type, image);
  if (s.post_norm) p.Norms(s.post, b.post.weight, b.post.weight_offset, s.width);
  if (s.head) {
    const uint32_t first = s.First(p.rank_, s.own_out, s.output_width);
    p.Rows(
        s.out, s.out_scale, s.out_bias, s.out_sum, b.head.w, b.head.bias,
        s.Count(p.rank_, s.own_out, s.output_width), [&](uint32_t i) { return first + i; },
        s.post_norm ? b.post.weight : nullptr, b.post.weight_offset);
  }
  if (s.encoder) {
    const uint32_t first = s.First(p.rank_, s.rows, s.width);
    p.Rows(
        s.enc, s.enc_scale, s.enc_bias, ~0u, b.encoder.w, b.encoder.bias,
        s.Count(p.rank_, s.rows, s.width), [&](uint32_t i) { return first + i; }, nullptr, 0);
  }
}

template <class Real>
cudaError_t Pack(const OnChipPlan& plan, uint8_t* image, cudaStream_t stream) {
  const OnChipShape& s = plan.shape;
  const Stack& stack = plan.stack;
  cudaError_t error = cudaMemsetAsync(image, 0, plan.image_bytes, stream);
  if (error != cudaSuccess) return error;
  const EndsSource ends{stack.post_norm.value_or(Norm{}), stack.head.value_or(Linear{}),
                        stack.encoder.value_or(Linear{})};
  PackEnds<Real><<<s.ctas, 256, 0, stream>>>(s, plan.weights, image, ends);
  uint32_t at = s.first_block;
  for (const auto& block : stack.blocks) {
    if (const auto* m = std::get_if<MlstmBlock>(&block)) {
      const MlstmSource source{m->norm, m->up, m->gates, m->down, m->conv.value_or(Conv{}),
                               m->q,    m->k,  m->v,     m->out};
      PackMlstm<Real><<<s.ctas, 256, 0, stream>>>(s, plan.weights, image, at, source);
      at += s.m.bytes;
    } else {
      const auto& b = std::get<SlstmBlock>(block);
      const FeedForward ff = b.feedforward.value_or(FeedForward{});
      const SlstmSource source{b.norm, ff.norm, b.conv.value_or(Conv{}), b.input, b.cell, b.out,
                               ff.up,  ff.down};
      PackSlstm<Real><<<s.ctas, 256, 0, stream>>>(s, plan.weights, image, at, source);
      at += s.s.bytes;
    }
  }
  return cudaGetLastError();
}

}  // namespace

cudaError_t PackOnChip(const OnChipPlan& plan, uint8_t* image, cudaStream_t stream) {
  return plan.wide ? Pack<double>(plan, image, stream) : Pack<float>(plan, image, stream);
}

}  // namespace xst::kernels::cuda
