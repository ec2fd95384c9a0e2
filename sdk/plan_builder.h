// Bookkeeping while a family writes its ops: tensors by name, state and activations as Slots.
#pragma once

#include <string>
#include <vector>

#include "sdk/plan.h"

namespace xst {

class PlanBuilder {
 public:
  // `activations`: the first element behind the state.
  PlanBuilder(const formats::Directory& directory, uint32_t activations);

  // A manifest tensor: present by construction for Weight and Vector, null if absent for
  // VectorOrNull.
  kernels::Matrix Weight(const std::string& name) const;
  const float* Vector(const std::string& name) const;
  const float* VectorOrNull(const std::string& name) const;

  // Persistent arrays [rows][cols] with rows `stride` apart, zero after a reset, in snapshot order.
  kernels::Slot State(uint32_t rows, uint32_t cols, uint32_t stride, bool ring = false);
  // An activation of `size` elements; Scope ends its life.
  kernels::Slot Temp(uint32_t size);
  template <class T>
  void Add(const T& op, uint64_t flops) {
    plan.ops.push_back(op);
    plan.flops += flops;
  }

  uint32_t mark() const { return next_temp_; }
  void release(uint32_t mark) { next_temp_ = mark; }
  uint32_t state_end() const { return next_state_; }
  uint32_t frame_end() const { return frame_end_; }

  Plan plan;

 private:
  const formats::StoredTensor* Find(const std::string& name) const;

  std::vector<const formats::StoredTensor*> tensors_;  // by name
  uint32_t next_state_ = 0, next_temp_, frame_end_;
};

// Activations made while it lives are reused by what comes after it.
class Scope {
 public:
  explicit Scope(PlanBuilder& builder) : builder_(builder), mark_(builder.mark()) {}
  ~Scope() { builder_.release(mark_); }
  Scope(const Scope&) = delete;
  Scope& operator=(const Scope&) = delete;

 private:
  PlanBuilder& builder_;
  uint32_t mark_;
};

// y = W x [+ its bias], or y += that; `name` of the matrix, "NAME.bias" of the bias if there is
// one.
void AddLinear(PlanBuilder& b, const std::string& name, kernels::Slot x, kernels::Slot y,
               bool accumulate = false);
// RMS norm with the bias NAME.bias, if there is one.
kernels::Slot AddRmsNorm(PlanBuilder& b, const std::string& name, uint32_t size, float eps,
                         kernels::Slot x);
// x += down(act(first half of up(u)) * second half); names NAME + "up", NAME + "down".
void AddGatedFeedForward(PlanBuilder& b, const std::string& name, uint32_t inner,
                         kernels::Activation act, kernels::Slot u, kernels::Slot x);

// The families. Each sets plan.input, plan.output and their widths.
void BuildBlockStack(PlanBuilder& b, const formats::ModelConfig& config);
void BuildLarge(PlanBuilder& b, const formats::LargeConfig& config);
void BuildTirex(PlanBuilder& b, const formats::TirexConfig& config);

}  // namespace xst
