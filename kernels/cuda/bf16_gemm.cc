#include "kernels/cuda/bf16_gemm.h"

#include <algorithm>
#include <cstdio>

namespace xst::kernels::cuda {
namespace {

constexpr int kCandidates = 8;

cudaError_t ErrorOf(cublasStatus_t s) {
  switch (s) {
    case CUBLAS_STATUS_SUCCESS:
      return cudaSuccess;
    case CUBLAS_STATUS_ALLOC_FAILED:
      return cudaErrorMemoryAllocation;
    case CUBLAS_STATUS_NOT_SUPPORTED:
      return cudaErrorNotSupported;
    case CUBLAS_STATUS_INVALID_VALUE:
      return cudaErrorInvalidValue;
    default:
      return cudaErrorUnknown;
  }
}

}  // namespace

cudaError_t Bf16Gemms::Create(std::unique_ptr<Bf16Gemms>* out) {
  std::unique_ptr<Bf16Gemms> made(new Bf16Gemms);
  made->lt_ = CublasLt::Load();
  if (!made->lt_) return cudaErrorSharedObjectInitFailed;
  const cudaError_t e = ErrorOf(made->lt_->Create(&made->handle_));
  if (e == cudaSuccess) *out = std::move(made);
  return e;
}

Bf16Gemms::~Bf16Gemms() {
  for (auto& [shape, plan] : plans_) Destroy(&plan);
  if (handle_) lt_->Destroy(handle_);
}

void Bf16Gemms::Destroy(Plan* plan) const {
  if (plan->product) lt_->MatmulDescDestroy(plan->product);
  for (cublasLtMatrixLayout_t m : {plan->w, plan->x, plan->d}) {
    if (m) lt_->MatrixLayoutDestroy(m);
  }
}

cudaError_t Bf16Gemms::Prepare(const GemmShape& s) {
  if (plans_.contains(s)) return cudaSuccess;
  Plan plan;
  cublasLtMatmulPreference_t wish = nullptr;
  const cublasOperation_t op_w = s.w_by_columns ? CUBLAS_OP_N : CUBLAS_OP_T;
  const cublasOperation_t op_x = s.x_by_columns ? CUBLAS_OP_T : CUBLAS_OP_N;
  const size_t workspace = kGemmWorkspace;
  const uint32_t alignment = 16;
  const cudaDataType_t type_d = s.bf16_out ? CUDA_R_16BF : CUDA_R_32F;
  int count = 0;
  // cuBLAS thinks in columns: D^T [rows x tokens] = W [rows x columns] X^T [columns x tokens].
  cublasStatus_t e = lt_->MatmulDescCreate(&plan.product, CUBLAS_COMPUTE_32F, CUDA_R_32F);
  const auto then = [&](auto step) {
    if (e == CUBLAS_STATUS_SUCCESS) e = step();
  };
  const auto prefer = [&](cublasLtMatmulPreferenceAttributes_t what, const auto& value) {
    then([&] { return lt_->MatmulPreferenceSetAttribute(wish, what, &value, sizeof(value)); });
  };
  then([&] {
    return lt_->MatmulDescSetAttribute(plan.product, CUBLASLT_MATMUL_DESC_TRANSA, &op_w,
                                       sizeof(op_w));
  });
  then([&] {
    return lt_->MatmulDescSetAttribute(plan.product, CUBLASLT_MATMUL_DESC_TRANSB, &op_x,
                                       sizeof(op_x));
  });
  const auto layout = [&](cublasLtMatrixLayout_t* m, cudaDataType_t type, bool turned,
                          uint32_t rows, uint32_t cols, size_t ld, size_t batch_stride) {
    then([&] {
      return lt_->MatrixLayoutCreate(m, type, turned ? cols : rows, turned ? rows : cols,
                                     static_cast<int64_t>(ld));
    });
    if (s.batch == 1) return;
    const auto count = static_cast<int32_t>(s.batch);
    const auto stride = static_cast<int64_t>(batch_stride);
    then([&] {
      return lt_->MatrixLayoutSetAttribute(*m, CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, &count,
                                           sizeof(count));
    });
    then([&] {
      return lt_->MatrixLayoutSetAttribute(*m, CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, &stride,
                                           sizeof(stride));
    });
  };
  layout(&plan.w, CUDA_R_16BF, !s.w_by_columns, s.rows, s.columns, s.ld_w, s.batch_w);
  layout(&plan.x, CUDA_R_16BF, s.x_by_columns, s.columns, s.tokens, s.ld_x, s.batch_x);
  layout(&plan.d, type_d, false, s.rows, s.tokens, s.ld_d, s.batch_d);
  then([&] { return lt_->MatmulPreferenceCreate(&wish); });
  prefer(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, workspace);
  prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, alignment);
  prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, alignment);
  prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, alignment);
  prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, alignment);
  plan.found.resize(kCandidates);
  then([&] {
    return lt_->MatmulAlgoGetHeuristic(handle_, plan.product, plan.w, plan.x, plan.d, plan.d, wish,
                                       kCandidates, plan.found.data(), &count);
  });
  if (wish) lt_->MatmulPreferenceDestroy(wish);
  if (e == CUBLAS_STATUS_SUCCESS && count == 0) e = CUBLAS_STATUS_NOT_SUPPORTED;
  if (e != CUBLAS_STATUS_SUCCESS) {
    Destroy(&plan);
    return ErrorOf(e);
  }
  plan.found.resize(count);
  plans_.emplace(s, std::move(plan));
  return cudaSuccess;
}

cudaError_t Bf16Gemms::Launch(const GemmShape& s, const Plan& plan, size_t which, const void* w,
                              const void* x, void* d, void* workspace, cudaStream_t stream) const {
  const float one = 1, beta = s.accumulate ? 1 : 0;
  return ErrorOf(lt_->Matmul(handle_, plan.product, &one, w, plan.w, x, plan.x, &beta, d, plan.d, d,
                             plan.d, &plan.found[which].algo, workspace, kGemmWorkspace, stream));
}

cudaError_t Bf16Gemms::Run(const GemmShape& s, const void* w, const void* x, void* d,
                           void* workspace, cudaStream_t stream) const {
  const auto found = plans_.find(s);
  if (found == plans_.end()) return cudaErrorInvalidValue;
  return Launch(s, found->second, found->second.chosen, w, x, d, workspace, stream);
}

cudaError_t Bf16Gemms::Tune(const GemmShape& s, const void* w, const void* x, void* d,
                            void* workspace, cudaStream_t stream) {
  if (const cudaError_t e = Prepare(s)) return e;
  Plan& plan = plans_.at(s);
  constexpr int kRuns = 5;
  cudaEvent_t begin = nullptr, end = nullptr;
  cudaError_t e = cudaEventCreate(&begin);
  if (e == cudaSuccess) e = cudaEventCreate(&end);
  float best = 0;
  for (size_t i = 0; i < plan.found.size() && e == cudaSuccess; ++i) {
    // An algorithm that cannot run here is no candidate.
    if (Launch(s, plan, i, w, x, d, workspace, stream) != cudaSuccess) continue;
    float least = 0;
    for (int run = 0; run < kRuns && e == cudaSuccess; ++run) {
      float ms = 0;
      if ((e = cudaEventRecord(begin, stream))) break;
      if ((e = Launch(s, plan, i, w, x, d, workspace, stream))) break;
      if ((e = cudaEventRecord(end, stream))) break;
      if ((e = cudaEventSynchronize(end))) break;
      if ((e = cudaEventElapsedTime(&ms, begin, end))) break;
      least = run == 0 ? ms : std::min(least, ms);
    }
    if (e == cudaSuccess && (best == 0 || least < best)) {
      best = least;
      plan.chosen = i;
    }
  }
  if (begin) cudaEventDestroy(begin);
  if (end) cudaEventDestroy(end);
  return e;
}

std::string Bf16Gemms::Describe() const {
  std::string text;
  for (const auto& [s, plan] : plans_) {
    const cublasLtMatmulAlgo_t* algo = &plan.found[plan.chosen].algo;
    const auto get = [&]<class T>(cublasLtMatmulAlgoConfigAttributes_t what, T value) {
      size_t size = 0;
      lt_->MatmulAlgoConfigGetAttribute(algo, what, &value, sizeof(value), &size);
      return static_cast<int>(value);
    };
    char line[200];
    std::snprintf(
        line, sizeof(line),
        "%u x rows %u columns %u tokens %u %s%s: algorithm %d tile %d stages %d cluster %d "
        "split-k %d swizzle %d (candidate %zu of %zu)\n",
        s.batch, s.rows, s.columns, s.tokens, s.bf16_out ? "bf16" : "f32",
        s.accumulate ? " +=" : "", get(CUBLASLT_ALGO_CONFIG_ID, int32_t{}),
        get(CUBLASLT_ALGO_CONFIG_TILE_ID, uint32_t{}),
        get(CUBLASLT_ALGO_CONFIG_STAGES_ID, uint32_t{}),
        get(CUBLASLT_ALGO_CONFIG_CLUSTER_SHAPE_ID, uint16_t{}),
        get(CUBLASLT_ALGO_CONFIG_SPLITK_NUM, int32_t{}),
        get(CUBLASLT_ALGO_CONFIG_CTA_SWIZZLING, uint32_t{}), plan.chosen + 1, plan.found.size());
    text += line;
  }
  return text;
}

}  // namespace xst::kernels::cuda
