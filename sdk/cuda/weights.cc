#include "sdk/cuda/weights.h"

#include <algorithm>
#include <cstdint>
#include <unordered_map>
#include <variant>

#include "kernels/cuda/launch.h"

namespace xst::cuda {
namespace {

using namespace kernels;  // NOLINT: this file is about nothing but ops
using kernels::cuda::RowStride;
using kernels::cuda::SizeOf;

constexpr size_t kAlign = 256;
constexpr size_t kStaging = size_t{64} << 20;  // bytes of a matrix repacked at once

// matrix(Matrix&) and vector(const float*&, elements) for every weight of an op.
template <class M, class V>
struct Visitor {
  const M& matrix;
  const V& vector;

  void operator()(Norm& o) const {
    vector(o.weight, o.size);
    vector(o.bias, o.size);
  }
  void operator()(Linear& o) const {
    matrix(o.w);
    vector(o.bias, o.w.rows);
  }
  void operator()(BlockLinear& o) const {
    matrix(o.w);
    vector(o.bias, o.w.rows);
  }
  void operator()(Conv& o) const {
    vector(o.weight, size_t{o.kernel} * o.stride);
    vector(o.bias, o.channels);
  }
  void operator()(MlstmOut& o) const {
    vector(o.weight, size_t{o.heads} * o.dim);
    vector(o.bias, size_t{o.heads} * o.dim);
    vector(o.skip, size_t{o.heads} * o.dim);
  }
  void operator()(SlstmInput& o) const { matrix(o.w); }
  void operator()(SlstmCell& o) const {
    matrix(o.r);
    vector(o.bias, 4 * size_t{RoundUp16(o.channels)});
  }
  void operator()(SlstmOut& o) const { vector(o.weight, size_t{o.heads} * o.dim); }
  void operator()(Embed& o) const { matrix(o.table); }
  void operator()(MlstmCell&) const {}
  void operator()(GatedAct&) const {}
  void operator()(Pointwise&) const {}
};

template <class M, class V>
void ForEachWeight(std::vector<Op>& ops, const M& matrix, const V& vector) {
  for (Op& op : ops) std::visit(Visitor<M, V>{matrix, vector}, op);
}

size_t BytesHere(const Matrix& m) { return m.rows * RowStride(m.dtype, m.cols) * SizeOf(m.dtype); }

// Bytes of `rows` rows of a matrix as the file has it, whole panels.
size_t BytesInFile(const Matrix& m, uint32_t rows) {
  if (m.layout == Layout::rows) return rows * RowStride(m.dtype, m.cols) * SizeOf(m.dtype);
  const size_t words = (size_t{m.cols} * SizeOf(m.dtype) + 3) / 4;
  return size_t{UnitsOf(rows)} * kUnit * words * 4;
}

}  // namespace

cudaError_t Weights::Upload(std::vector<Op>* ops) {
  // Where each weight goes, by its place in the file.
  std::unordered_map<const void*, size_t> offsets;
  size_t total = 0, staging = 0;
  const auto place = [&](const void* from, size_t bytes) {
    if (!offsets.try_emplace(from, total).second) return;
    total += (bytes + kAlign - 1) / kAlign * kAlign;
  };
  const auto place_vector = [&](const float* from, size_t size) {
    if (from) place(from, size * sizeof(float));
  };
  ForEachWeight(
      *ops,
      [&](Matrix& m) {
        place(m.data, BytesHere(m));
        place_vector(m.scale, RoundUp16(m.rows));
        staging = std::max(
            staging, std::min(BytesInFile(m, m.rows), std::max(kStaging, BytesInFile(m, kUnit))));
      },
      place_vector);

  cudaError_t error = memory_.Allocate(std::max(total, kAlign));
  DeviceBuffer<std::byte> staged;
  if (error == cudaSuccess) error = staged.Allocate(std::max(staging, kAlign));
  std::unordered_map<const void*, bool> copied;
  // The copy's place; copies with `copy(to)` the first time.
  const auto to = [&](const void* from, const auto& copy) {
    std::byte* at = memory_.data() + offsets[from];
    if (error == cudaSuccess && copied.try_emplace(from, true).second) error = copy(at);
    return at;
  };
  const auto copy_vector = [&](const float*& v, size_t size) {
    if (!v) return;
    v = reinterpret_cast<const float*>(to(v, [&](std::byte* at) {
      return cudaMemcpy(at, v, size * sizeof(float), cudaMemcpyHostToDevice);
    }));
  };
  ForEachWeight(
      *ops,
      [&](Matrix& m) {
        const auto copy_matrix = [&](std::byte* at) {
          const size_t panel = BytesInFile(m, kUnit);
          const auto rows =
              static_cast<uint32_t>(std::max<size_t>(staged.size() / panel, 1) * kUnit);
          cudaError_t e = cudaSuccess;
          for (uint32_t row = 0; row < m.rows && e == cudaSuccess; row += rows) {
            Matrix part = m;
            part.rows = std::min(rows, m.rows - row);
            part.data = staged.data();
            e = cudaMemcpy(staged.data(),
                           static_cast<const std::byte*>(m.data) + row / kUnit * panel,
                           BytesInFile(m, part.rows), cudaMemcpyHostToDevice);
            if (e != cudaSuccess) break;
            e = kernels::cuda::Repack(part, at + row * RowStride(m.dtype, m.cols) * SizeOf(m.dtype),
                                      nullptr);
          }
          return e;
        };
        m.data = to(m.data, copy_matrix);
        copy_vector(m.scale, m.rows);
        m.layout = Layout::rows;
      },
      copy_vector);
  return error == cudaSuccess ? cudaStreamSynchronize(nullptr) : error;
}

}  // namespace xst::cuda
