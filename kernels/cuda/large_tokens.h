// What stands between the products of a prompt: one row a token, bf16 towards the tensor cores,
// float where the model is sensitive (residual stream, gates, cell). Rows of all arrays start
// 16-byte aligned; `ld` is the number of elements between them.
#pragma once

#include <cuda_bf16.h>
#include <cuda_runtime.h>

#include "kernels/cuda/frames.h"
#include "kernels/cuda/mlstm_chunks.h"

namespace xst::kernels::cuda {

template <class T>
struct TokenRows {
  T* data;
  size_t ld;
};

// Where token (lane, step) of a prompt lies in an array of the caller, in elements.
struct TokenPlace {
  size_t lane, step;
};

// x[token] = embedding of ids[place of token], tokens lane by lane.
cudaError_t EmbedTokens(const Embed& o, const float* ids, TokenPlace place, uint32_t lanes,
                        uint32_t steps, TokenRows<float> x, cudaStream_t stream);

// Whether NormTokens has the registers for `size` columns.
bool NormTokensFits(uint32_t size);

// u = norm(x); with `gates` also y = W u + bias in float from the unrounded u.
cudaError_t NormTokens(const Norm& o, uint32_t tokens, TokenRows<float> x,
                       TokenRows<__nv_bfloat16> u, const Linear* gates, TokenRows<float> y,
                       cudaStream_t stream);

// y = (headnorm(h / den) weight + bias) gate(z), tokens lane by lane.
cudaError_t GateHeadTokens(const MlstmOut& o, uint32_t lanes, uint32_t steps, const HeadRows& h,
                           TokenRows<const float> z, TokenRows<__nv_bfloat16> y,
                           cudaStream_t stream);

// y = act(gate + its bias) * (linear + its bias), with [gate | linear] in a row of `up`.
cudaError_t GatedActTokens(const GatedAct& o, const float* bias, uint32_t tokens,
                           TokenRows<const __nv_bfloat16> up, TokenRows<__nv_bfloat16> y,
                           cudaStream_t stream);

// x += bias.
cudaError_t AddBiasTokens(const float* bias, uint32_t size, uint32_t tokens, TokenRows<float> x,
                          cudaStream_t stream);

// x = cap tanh(x / cap).
cudaError_t SoftCapTokens(float cap, uint32_t size, uint32_t tokens, TokenRows<float> x,
                          cudaStream_t stream);

// u = x.
cudaError_t RoundTokens(uint32_t size, uint32_t tokens, TokenRows<const float> x,
                        TokenRows<__nv_bfloat16> u, cudaStream_t stream);

// Row i of `from` goes to where token first + i of the prompt lies.
cudaError_t CopyTokens(TokenRows<const float> from, uint32_t size, uint32_t rows, uint32_t first,
                       uint32_t steps, TokenPlace place, float* to, cudaStream_t stream);

// Rows [first, first + rows) of a matrix as bf16, RowStride(bf16, cols) apart.
cudaError_t ToBf16(const Matrix& w, uint32_t first, uint32_t rows, __nv_bfloat16* to,
                   cudaStream_t stream);

}  // namespace xst::kernels::cuda
