// Many tokens of an xLSTM Large model at once: products on tensor cores in bf16 with float sums,
// the cell in chunks. Activations between products are rounded to bf16 (about 1e-2 of the logits),
// so a caller asks for it; the residual stream, the gates and the state stay float.
#pragma once

#include <cuda_runtime.h>

#include <memory>
#include <string>

#include "kernels/cuda/gemv.h"
#include "kernels/cuda/large_stack.h"
#include "kernels/cuda/large_tokens.h"
#include "kernels/cuda/mlstm_chunks.h"

namespace xst::kernels::cuda {

struct Prompt {
  const float* ids;  // device; where token (lane, step) lies: ids_at
  TokenPlace ids_at;
  uint32_t steps;  // of every lane
  float* logits;   // device; of every token, or of the last of each lane (then logits_at.step is 0)
  TokenPlace logits_at;
  bool all_logits;
};

class LargePrefill {
 public:
  struct Options {
    uint32_t lanes = 1;
    uint32_t max_tokens =
        2048;                 // of all lanes at once, a power of two; longer prompts go in pieces
    bool all_logits = false;  // may be asked for
  };
  // Finds the algorithms of every product. cudaErrorNotSupported where the model's shape is.
  static cudaError_t Create(const LargeStack& stack, const Options& options,
                            const DeviceShape& device, std::unique_ptr<LargePrefill>* out);
  ~LargePrefill();

  // Device memory, 256-byte aligned, that Run and Tune need for themselves.
  size_t workspace_bytes() const { return bytes_; }

  // Measures which algorithm is fastest for max_tokens, on the model's weights and what a Run has
  // left in the workspace. Synchronises.
  cudaError_t Tune(void* workspace, cudaStream_t stream);

  // The prompt of every lane: its state moves on by prompt.steps. Capturable in a graph. Every lane
  // is active.
  cudaError_t Run(const Frames<float>& state, const Prompt& prompt, void* workspace,
                  cudaStream_t stream) const;

  // A line a product: its algorithm.
  std::string Describe() const;

 private:
  LargePrefill() = default;
  struct Memory;  // the workspace as arrays
  Memory Arrays(void* workspace) const;
  cudaError_t Prepare();
  uint32_t Padded(uint32_t tokens) const;
  // D (+)= X W^T for rows [first, first + rows) of w, through a bf16 copy if w is of another type.
  template <class X, class D>
  cudaError_t Product(const Matrix& w, uint32_t first, uint32_t rows, uint32_t tokens, X x, D d,
                      bool accumulate, const Memory& m, cudaStream_t stream) const;
  cudaError_t Block(const LargeBlock& b, const Frames<float>& state, uint32_t steps,
                    const Memory& m, cudaStream_t stream) const;
  cudaError_t LastLogits(const Prompt& p, uint32_t steps, const Memory& m,
                         cudaStream_t stream) const;
  cudaError_t AllLogits(const Prompt& p, uint32_t begin, uint32_t steps, const Memory& m,
                        cudaStream_t stream) const;

  LargeStack stack_;
  Options options_;
  DeviceShape device_;
  std::unique_ptr<Bf16Gemms> gemms_;
  std::unique_ptr<MlstmChunks> chunks_;
  size_t bytes_ = 0;
  uint32_t logit_tokens_ = 0;  // at once, in AllLogits
  uint32_t scratch_rows_ = 0;  // of the head, that the bf16 copy of weights holds
};

}  // namespace xst::kernels::cuda
