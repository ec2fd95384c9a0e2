#include "sdk/step_sequence.h"

#include <algorithm>
#include <new>

namespace xst {
namespace {

using namespace kernels;  // NOLINT: this file is about ops

bool HasState(const Op& op) {
  return std::holds_alternative<Conv>(op) || std::holds_alternative<MlstmCell>(op) ||
         std::holds_alternative<SlstmCell>(op) || std::holds_alternative<SlstmOut>(op);
}

}  // namespace

StepSequence::StepSequence(const ModelCore& model, size_t steps) : model_(model), stateful_(0) {
  const Plan& plan = model.plan;
  stride_ = OddLines((plan.frame_size - plan.state_size) * sizeof(float)) / sizeof(float);
  size_t scratch = 0;
  for (size_t i = 0; i < plan.ops.size(); ++i) {
    if (HasState(plan.ops[i])) stateful_ = i + 1;
    if (const auto* o = std::get_if<MlstmCell>(&plan.ops[i])) {
      scratch = std::max(scratch, SequenceScratch(*o));
    }
  }
  steps = std::min(steps, kMost);
  Fault fault;
  if (Memory::Allocate((uint64_t{steps} * stride_ + scratch) * sizeof(float), &memory_, &fault) !=
      Status::ok) {
    throw std::bad_alloc();
  }
  auto* at = reinterpret_cast<float*>(memory_.bytes().data());
  scratch_ = at + steps * stride_;
  for (size_t t = 0; t < steps; ++t) frames_.push_back(at + t * stride_ - plan.state_size);
  states_.resize(steps);
}

void StepSequence::Run(float* state, size_t count, Outputs outputs) noexcept {
  const Kernels<float>& table = *model_.single_kernels;
  const std::vector<Op>& ops = model_.plan.ops;
  std::fill_n(states_.begin(), count, state);
  const Batch<float> all{frames_.data(), states_.data(), count};
  const auto one = [&](size_t t) { return Batch<float>{all.frames + t, all.states + t, 1}; };
  for (size_t i = 0; i < stateful_; ++i) {
    const Range units{0, Units(ops[i])};
    if (const auto* o = std::get_if<MlstmCell>(&ops[i]); o && count > 1) {
      table.mlstm_sequence(*o, {frames_[0], stride_, count, state, scratch_}, units);
    } else if (std::holds_alternative<SlstmCell>(ops[i])) {
      // The op behind it stores the y that the cell's next step reads.
      const Op& out = ops[i + 1];
      for (size_t t = 0; t < count; ++t) {
        kernels::Run(table, ops[i], one(t), units);
        kernels::Run(table, out, one(t), {0, Units(out)});
      }
      ++i;
    } else {
      kernels::Run(table, ops[i], all, units);
    }
  }
  if (outputs == Outputs::none) return;
  const Batch<float> wanted = outputs == Outputs::all ? all : one(count - 1);
  for (size_t i = stateful_; i < ops.size(); ++i) {
    kernels::Run(table, ops[i], wanted, {0, Units(ops[i])});
  }
}

}  // namespace xst
