#include "sdk/cuda/program.h"

#include <algorithm>
#include <span>
#include <type_traits>

#include "kernels/cuda/large_decode.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/linear_tokens.h"
#include "kernels/cuda/mlstm_lanes.h"
#include "kernels/cuda/op_reader.h"
#include "kernels/cuda/sequence.h"
#include "kernels/cuda/sequence_linear.h"
#include "kernels/cuda/sequence_qkv.h"
#include "kernels/cuda/sequence_slstm_front.h"
#include "kernels/cuda/slstm_lanes.h"

namespace xst::cuda {
namespace {

using namespace kernels;  // NOLINT: this file is about nothing but ops
using kernels::cuda::Frames;
using kernels::cuda::Sequence;

// Up to so many vectors a matrix is read once and the rest is free; beyond, its tiles are reused.
constexpr uint32_t kGemvLanes = 8;

template <class T>
cudaError_t LaunchOp(const Linear& o, const Frames<T>& frames,
                     const kernels::cuda::DeviceShape& device, cudaStream_t stream) {
  if constexpr (std::is_same_v<T, float>) {
    kernels::cuda::Gemv gemv;
    gemv.linear = o;
    if (frames.lanes <= kGemvLanes && Fits(gemv)) {
      return kernels::cuda::LaunchGemv(gemv, frames, device, false, stream);
    }
    if (kernels::cuda::LinearTokensFits(nullptr, o, nullptr)) {
      return kernels::cuda::LaunchLinearTokens(nullptr, o, nullptr, frames, stream);
    }
  }
  return kernels::cuda::Launch(o, frames, stream);
}
template <class O, class T>
cudaError_t LaunchOp(const O& o, const Frames<T>& frames, const kernels::cuda::DeviceShape&,
                     cudaStream_t stream) {
  return kernels::cuda::Launch(o, frames, stream);
}

// The ops of a block stack that one kernel does for all tokens, from i on; how many there were.
size_t LaunchFused(std::span<const Op> ops, size_t i, const Sequence<float>& s, void* workspace,
                   cudaStream_t stream, cudaError_t* error) {
  // The ops from i on, if they are of these types.
  const auto follow = [&](auto*... op) {
    kernels::cuda::OpReader r(ops.subspan(i));
    return (r.Take(op) && ...);
  };
  Norm norm;
  Linear linear;
  GatedAct act;
  const auto product = [&](const Norm* before, const GatedAct* after) {
    if (kernels::cuda::FitsSequence(before, linear, after, s.tokens)) {
      *error = kernels::cuda::LaunchSequence(before, linear, after, s.tokens, stream);
      return true;
    }
    if (!kernels::cuda::LinearTokensFits(before, linear, after)) return false;
    *error = kernels::cuda::LaunchLinearTokens(before, linear, after, s.tokens, stream);
    return true;
  };
  // In a stack only the product reads what the norm in front of it gives.
  if (follow(&norm, &linear, &act) && product(&norm, &act)) return 3;
  if (follow(&norm, &linear) && product(&norm, nullptr)) return 2;
  if (follow(&linear) && product(nullptr, nullptr)) return 1;
  kernels::cuda::SlstmFront front;
  if (follow(&front.norm, &front.conv, &front.input) && FitsSequence(front, s)) {
    *error = kernels::cuda::LaunchSequence(front, s, stream);
    return 3;
  }
  kernels::cuda::QkvOps qkv;
  MlstmCell cell;
  if (follow(&qkv.conv, &qkv.q, &qkv.k, &qkv.v, &qkv.gates, &cell) && FitsSequence(qkv, cell, s)) {
    *error = kernels::cuda::LaunchSequence(qkv, cell, s, workspace, stream);
    return 6;
  }
  if (follow(&qkv.conv, &qkv.q, &qkv.k, &qkv.v, &qkv.gates) && FitsSequence(qkv)) {
    *error = kernels::cuda::LaunchSequence(qkv, s, stream);
    return 5;
  }
  MlstmOut out;
  if (follow(&out) && kernels::cuda::FitsSequence(out, s)) {
    *error = kernels::cuda::LaunchSequence(out, s, stream);
    return 1;
  }
  return 0;
}

}  // namespace

template <class T>
Program<T>::Program(const Plan& plan, const std::vector<Op>& ops,
                    const kernels::cuda::DeviceShape& device)
    : ops_(ops), device_(device) {
  stack_ = kernels::cuda::RecogniseStack(ops, plan.ops_input, plan.input_width, plan.output,
                                         plan.output_width);
  large_ = kernels::cuda::RecogniseLarge(ops);
  if (large_ && !Fits(*large_)) large_.reset();
}

template <class T>
cudaError_t Program<T>::StepOps(Range range, const Frames<T>& frames, cudaStream_t stream) const {
  cudaError_t error = cudaSuccess;
  for (uint32_t i = range.begin; i < range.end && error == cudaSuccess; ++i) {
    Visit([&](const auto& o) { error = LaunchOp(o, frames, device_, stream); }, ops_[i]);
  }
  return error;
}

template <class T>
cudaError_t Program<T>::Step(const Frames<T>& frames, cudaStream_t stream) const {
  const auto all = static_cast<uint32_t>(ops_.size());
  if constexpr (std::is_same_v<T, float>) {
    if (large_ && frames.lanes <= kGemvLanes) {
      return kernels::cuda::LaunchLargeDecode(*large_, frames, device_, stream);
    }
    if (stack_) {
      uint32_t next = 0;
      cudaError_t error = cudaSuccess;
      for (size_t i = 0; i < stack_->blocks.size() && error == cudaSuccess; ++i) {
        const Range block_ops = stack_->block_ops[i];
        error = StepOps({next, block_ops.begin}, frames, stream);
        next = block_ops.end;
        if (error != cudaSuccess) break;
        error = std::visit(
            [&](const auto& block) {
              return BlockFits(block, frames) ? LaunchBlock(block, frames, stream)
                                              : StepOps(block_ops, frames, stream);
            },
            stack_->blocks[i]);
      }
      return error == cudaSuccess ? StepOps({next, all}, frames, stream) : error;
    }
  }
  return StepOps({0, all}, frames, stream);
}

template <class T>
size_t Program<T>::workspace(uint32_t lanes, uint32_t steps) const {
  size_t bytes = 0;
  for (const Op& op : ops_) {
    if (const auto* cell = std::get_if<MlstmCell>(&op)) {
      bytes = std::max(bytes, kernels::cuda::SequenceWorkspace(*cell, lanes, steps, false));
    }
  }
  return bytes;
}

template <class T>
cudaError_t Program<T>::Steps(const Sequence<T>& s, void* workspace, cudaStream_t stream) const {
  cudaError_t error = cudaSuccess;
  const auto launch = [&]<class O>(const O& o) {
    if constexpr (std::is_same_v<O, MlstmCell>) {
      error = kernels::cuda::LaunchSequence(o, s, false, workspace, stream);
    } else if constexpr (std::is_same_v<O, Conv> || std::is_same_v<O, SlstmCell> ||
                         std::is_same_v<O, SlstmOut>) {
      error = kernels::cuda::LaunchSequence(o, s, stream);
    } else {
      error = LaunchOp(o, s.tokens, device_, stream);
    }
  };
  for (size_t i = 0; i < ops_.size() && error == cudaSuccess;) {
    size_t fused = 0;
    if constexpr (std::is_same_v<T, float>) {
      if (stack_ && s.tokens.lanes > kGemvLanes) {
        fused = LaunchFused(ops_, i, s, workspace, stream, &error);
      }
    }
    if (fused == 0) Visit(launch, ops_[i]);
    i += std::max<size_t>(fused, 1);
  }
  return error;
}

template class Program<float>;
template class Program<double>;

}  // namespace xst::cuda
