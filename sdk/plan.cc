#include "sdk/plan.h"

#include <algorithm>

#include "sdk/plan_builder.h"

namespace xst {

using kernels::Slot;

PlanBuilder::PlanBuilder(const formats::Directory& directory, uint32_t activations)
    : next_temp_(activations), frame_end_(activations) {
  tensors_.reserve(directory.tensors.size());
  for (const formats::StoredTensor& t : directory.tensors) tensors_.push_back(&t);
  std::sort(tensors_.begin(), tensors_.end(),
            [](const auto* a, const auto* b) { return a->spec.name < b->spec.name; });
}

const formats::StoredTensor* PlanBuilder::Find(const std::string& name) const {
  const auto found =
      std::lower_bound(tensors_.begin(), tensors_.end(), name,
                       [](const auto* t, const std::string& n) { return t->spec.name < n; });
  return found == tensors_.end() || (*found)->spec.name != name ? nullptr : *found;
}

kernels::Matrix PlanBuilder::Weight(const std::string& name) const {
  const formats::StoredTensor& t = *Find(name);
  return {.data = t.data,
          .scale = t.scale,
          .rows = static_cast<uint32_t>(t.spec.rows),
          .cols = static_cast<uint32_t>(t.spec.cols),
          .dtype = static_cast<kernels::DType>(t.dtype),
          .layout = static_cast<kernels::Layout>(t.spec.layout)};
}

const float* PlanBuilder::Vector(const std::string& name) const {
  return reinterpret_cast<const float*>(Find(name)->data);
}

const float* PlanBuilder::VectorOrNull(const std::string& name) const {
  const formats::StoredTensor* t = Find(name);
  return t ? reinterpret_cast<const float*>(t->data) : nullptr;
}

Slot PlanBuilder::State(uint32_t rows, uint32_t cols, uint32_t stride, bool ring) {
  const Slot slot = next_state_;
  next_state_ += kernels::RoundUp16(rows * stride);
  plan.state.push_back({slot, rows, cols, stride, ring});
  plan.state_values += uint64_t{rows} * cols;
  return slot;
}

Slot PlanBuilder::Temp(uint32_t size) {
  const Slot slot = next_temp_;
  next_temp_ += kernels::RoundUp16(size);
  frame_end_ = std::max(frame_end_, next_temp_);
  return slot;
}

void AddLinear(PlanBuilder& b, const std::string& name, Slot x, Slot y, bool accumulate) {
  const kernels::Matrix w = b.Weight(name);
  b.Add(kernels::Linear{w, b.VectorOrNull(name + ".bias"), x, y, accumulate},
        2ull * w.rows * w.cols);
}

Slot AddRmsNorm(PlanBuilder& b, const std::string& name, uint32_t size, float eps, Slot x) {
  const Slot y = b.Temp(size);
  b.Add(kernels::Norm{b.Vector(name), b.VectorOrNull(name + ".bias"), 0, eps, size, false, x, y},
        5ull * size);
  return y;
}

void AddGatedFeedForward(PlanBuilder& b, const std::string& name, uint32_t inner,
                         kernels::Activation act, Slot u, Slot x) {
  const Slot gate = b.Temp(2 * inner), linear = gate + inner, y = b.Temp(inner);
  AddLinear(b, name + "up", u, gate);
  b.Add(kernels::GatedAct{act, inner, gate, linear, y}, 10ull * inner);
  AddLinear(b, name + "down", y, x, true);
}

Plan BuildPlan(const formats::Directory& directory) {
  // The first pass only measures the state, which lies in front of the activations.
  uint32_t state_size = 0;
  for (bool measured : {false, true}) {
    PlanBuilder b(directory, state_size);
    switch (directory.config.family) {
      case formats::Family::block_stack:
      case formats::Family::lm:
        BuildBlockStack(b, directory.config);
        break;
      case formats::Family::large:
        BuildLarge(b, directory.config.large);
        break;
      case formats::Family::tirex:
        BuildTirex(b, directory.config.tirex);
        break;
    }
    state_size = b.state_end();
    if (!measured) continue;
    b.plan.state_size = state_size;
    b.plan.ops_state_size = b.plan.tokens ? state_size : b.plan.held;
    b.plan.ops_input =
        b.plan.wrapper && !directory.config.stream->encoder ? b.plan.wrapper->x() : b.plan.input;
    b.plan.frame_size = b.frame_end() + kernels::kUnit;
    return std::move(b.plan);
  }
  __builtin_unreachable();
}

}  // namespace xst
