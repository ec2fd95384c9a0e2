// Products with the tokens of a prompt by cuBLASLt: what an algorithm search finds is kept, a
// launch only runs it.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <tuple>
#include <vector>

#include "kernels/cuda/cublaslt.h"

namespace xst::kernels::cuda {

inline constexpr size_t kGemmWorkspace = size_t{32} << 20;

// D[token][row] (+)= sum over columns of X[token][column] W[row][column]; X and W bf16, sums f32.
struct GemmShape {
  uint32_t rows, columns, tokens;
  size_t ld_w, ld_x, ld_d;  // elements from row to row as they lie in memory
  bool bf16_out;            // D is bf16, else f32
  bool accumulate;          // onto D
  bool w_by_columns = false, x_by_columns = false;  // W[column][row], X[column][token] in memory
  uint32_t batch = 1;
  size_t batch_w = 0, batch_x = 0, batch_d = 0;  // elements from product to product

  auto Key() const {
    return std::tuple(rows, columns, tokens, ld_w, ld_x, ld_d, bf16_out, accumulate, w_by_columns,
                      x_by_columns, batch, batch_w, batch_x, batch_d);
  }
  bool operator<(const GemmShape& o) const { return Key() < o.Key(); }
};

class Bf16Gemms {
 public:
  // cudaErrorSharedObjectInitFailed without the library.
  static cudaError_t Create(std::unique_ptr<Bf16Gemms>* out);
  ~Bf16Gemms();
  Bf16Gemms(const Bf16Gemms&) = delete;
  Bf16Gemms& operator=(const Bf16Gemms&) = delete;

  // Finds the algorithm for a shape; all of its arrays will be 16-byte aligned, with rows apart by
  // multiples of 16 bytes.
  cudaError_t Prepare(const GemmShape& shape);
  // Tries every algorithm that the search proposes on these arrays and keeps the fastest. D is
  // overwritten. Synchronises.
  cudaError_t Tune(const GemmShape& shape, const void* w, const void* x, void* d, void* workspace,
                   cudaStream_t stream);
  // Of a prepared shape. workspace: kGemmWorkspace bytes.
  cudaError_t Run(const GemmShape& shape, const void* w, const void* x, void* d, void* workspace,
                  cudaStream_t stream) const;
  // A line a prepared shape: its algorithm.
  std::string Describe() const;

 private:
  struct Plan {
    cublasLtMatmulDesc_t product = nullptr;
    cublasLtMatrixLayout_t w = nullptr, x = nullptr, d = nullptr;
    std::vector<cublasLtMatmulHeuristicResult_t> found;
    size_t chosen = 0;
  };
  Bf16Gemms() = default;
  cudaError_t Launch(const GemmShape& shape, const Plan& plan, size_t which, const void* w,
                     const void* x, void* d, void* workspace, cudaStream_t stream) const;
  void Destroy(Plan* plan) const;

  const CublasLt* lt_ = nullptr;
  cublasLtHandle_t handle_ = nullptr;
  std::map<GemmShape, Plan> plans_;
};

}  // namespace xst::kernels::cuda
