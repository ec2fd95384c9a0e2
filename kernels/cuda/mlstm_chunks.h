// The mLSTM over many steps as a few large products: all chunks of 128 steps at once, with bf16
// factors and float sums, and one pass over their states in between. For long prompts of wide
// heads; a chunk's state passes through device memory, which a short head is not worth.
#pragma once

#include <cuda_bf16.h>
#include <cuda_runtime.h>

#include "kernels/cuda/bf16_gemm.h"
#include "kernels/cuda/frames.h"

namespace xst::kernels::cuda {

inline constexpr uint32_t kLongChunk = 128;

// Where h of token (lane, step) and head lies, before its division by `den`.
struct HeadRows {
  const float* h;
  const float* den;
  size_t step, head, lane;              // elements of h
  size_t den_step, den_head, den_lane;  // of den
};

class MlstmChunks {
 public:
  // Up to `steps` steps of `lanes` lanes.
  MlstmChunks(const MlstmCell& o, uint32_t lanes, uint32_t steps);

  size_t workspace_bytes() const;  // 256-byte aligned
  cudaError_t Prepare(Bf16Gemms* gemms) const;
  // As Bf16Gemms::Tune, for the most steps, with what a Run has left in the workspace.
  cudaError_t Tune(Bf16Gemms* gemms, void* gemm_workspace, void* workspace,
                   cudaStream_t stream) const;
  // What MlstmCell does with every token; h stays in the workspace, where *h says.
  cudaError_t Run(const MlstmCell& o, const Sequence<float>& s, const Bf16Gemms& gemms,
                  void* gemm_workspace, void* workspace, HeadRows* h, cudaStream_t stream) const;

 private:
  struct Memory;
  struct Products {
    GemmShape scores, states, outputs;
  };
  Memory Arrays(void* workspace) const;
  uint32_t ChunksOf(uint32_t steps) const;  // a power of two
  Products ProductsOf(uint32_t chunks) const;

  uint32_t heads_, dk_, dv_, lanes_, chunks_;
  uint32_t kp_, vp_;  // dk and dv in whole 16 bytes of bf16
};

}  // namespace xst::kernels::cuda
