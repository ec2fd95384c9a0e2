// Matrices on their way to the device: what the file has, in layout `rows`, byte for byte.
#include <gtest/gtest.h>

#include <cstring>

#include "kernels/cuda/launch.h"
#include "tests/unit/cuda/cuda_table.h"
#include "tests/unit/kernels/harness.h"
#include "tests/unit/kernels/weights.h"

namespace xst::kernels {
namespace {

struct Device {
  explicit Device(size_t bytes) { cuda::Check(cudaMalloc(&data, bytes), "cudaMalloc"); }
  Device(const Device&) = delete;
  ~Device() { cudaFree(data); }
  void* data = nullptr;
};

class RepackTest : public testing::Test {
 protected:
  void SetUp() override {
    if (const std::string why = cuda::WhyNoDevice(); !why.empty()) GTEST_SKIP() << why;
  }

  template <class Element>
  void CheckSize(uint32_t rows, uint32_t cols, DType type, Layout layout) {
    SCOPED_TRACE(Name(type) + (layout == Layout::panel ? " panel " : " rows ") +
                 std::to_string(rows) + " x " + std::to_string(cols));
    std::vector<float> values(size_t{rows} * cols);
    for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i % 251) - 125.0f;
    Weights w(values, rows, cols, type, layout);
    const size_t stride = cuda::RowStride(type, cols), size = cuda::SizeOf(type);
    std::vector<Element> expected(rows * stride, Element(0)), got(rows * stride);
    for (size_t r = 0; r < rows; ++r) {
      for (size_t c = 0; c < cols; ++c) expected[r * stride + c] = w.At<Element>(r, c);
    }
    const size_t bytes = layout == Layout::rows
                             ? rows * stride * size
                             : size_t{RoundUp16(rows)} * ((cols * size + 3) / 4 * 4);
    Matrix from = w.matrix();
    Device file(bytes), to(rows * stride * size);
    cuda::Check(cudaMemcpy(file.data, from.data, bytes, cudaMemcpyHostToDevice), "upload");
    cuda::Check(cudaMemset(to.data, 0xff, rows * stride * size), "poison");
    from.data = file.data;
    cuda::Check(cuda::Repack(from, to.data, nullptr), "Repack");
    cuda::Check(cudaMemcpy(got.data(), to.data, rows * stride * size, cudaMemcpyDeviceToHost),
                "download");
    ASSERT_EQ(std::memcmp(got.data(), expected.data(), rows * stride * size), 0);
  }
};

TEST_F(RepackTest, EveryTypeAndTail) {
  for (Layout layout : {Layout::panel, Layout::rows}) {
    for (uint32_t rows : {1u, 15u, 16u, 17u, 33u, 300u}) {
      for (uint32_t cols : {1u, 2u, 3u, 4u, 5u, 15u, 16u, 17u, 31u, 33u, 63u, 64u, 65u, 767u}) {
        CheckSize<float>(rows, cols, DType::f32, layout);
        CheckSize<int16_t>(rows, cols, DType::i16, layout);
        CheckSize<uint16_t>(rows, cols, DType::bf16, layout);
        CheckSize<int8_t>(rows, cols, DType::i8, layout);
      }
    }
  }
}

// More rows than one dimension of a grid may be expected to have.
TEST_F(RepackTest, ManyRows) {
  CheckSize<uint16_t>(70'000, 5, DType::bf16, Layout::panel);
  CheckSize<float>(70'000, 5, DType::f32, Layout::rows);
}

}  // namespace
}  // namespace xst::kernels
