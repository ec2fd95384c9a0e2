#include "kernels/cuda/cublaslt.h"

#include <dlfcn.h>

#include <optional>
#include <string>

namespace xst::kernels::cuda {
namespace {

std::optional<CublasLt> Find() {
  const std::string name = "libcublasLt.so." + std::to_string(CUBLAS_VER_MAJOR);
  void* library = dlopen(name.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (!library) return std::nullopt;
  bool all = true;
  CublasLt lt;
  const auto take = [&]<class F>(const char* symbol, F* function) {
    *function = reinterpret_cast<F>(dlsym(library, symbol));
    all &= *function != nullptr;
  };
  take("cublasLtCreate", &lt.Create);
  take("cublasLtDestroy", &lt.Destroy);
  take("cublasLtMatmul", &lt.Matmul);
  take("cublasLtMatmulAlgoConfigGetAttribute", &lt.MatmulAlgoConfigGetAttribute);
  take("cublasLtMatmulAlgoGetHeuristic", &lt.MatmulAlgoGetHeuristic);
  take("cublasLtMatmulDescCreate", &lt.MatmulDescCreate);
  take("cublasLtMatmulDescDestroy", &lt.MatmulDescDestroy);
  take("cublasLtMatmulDescSetAttribute", &lt.MatmulDescSetAttribute);
  take("cublasLtMatmulPreferenceCreate", &lt.MatmulPreferenceCreate);
  take("cublasLtMatmulPreferenceDestroy", &lt.MatmulPreferenceDestroy);
  take("cublasLtMatmulPreferenceSetAttribute", &lt.MatmulPreferenceSetAttribute);
  take("cublasLtMatrixLayoutCreate", &lt.MatrixLayoutCreate);
  take("cublasLtMatrixLayoutDestroy", &lt.MatrixLayoutDestroy);
  take("cublasLtMatrixLayoutSetAttribute", &lt.MatrixLayoutSetAttribute);
  return all ? std::optional(lt) : std::nullopt;
}

}  // namespace

const CublasLt* CublasLt::Load() {
  static const std::optional<CublasLt> found = Find();
  return found ? &*found : nullptr;
}

}  // namespace xst::kernels::cuda
