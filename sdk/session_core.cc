#include "sdk/session_core.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <new>

#include "formats/snapshot.h"

namespace xst {
namespace {

template <class T>
const kernels::Kernels<T>& KernelsOf(const ModelCore& model);
template <>
const kernels::Kernels<float>& KernelsOf(const ModelCore& model) {
  return *model.single;
}
template <>
const kernels::Kernels<double>& KernelsOf(const ModelCore& model) {
  return *model.wide;
}

// Calls `f(row)` with the slot of every row of a state array, in snapshot order.
template <class F>
void ForEachRow(const StateArray& a, uint64_t steps, F&& f) {
  const uint32_t first = a.ring ? static_cast<uint32_t>(steps % a.rows) : 0;
  for (uint32_t i = 0; i < a.rows; ++i) f(a.slot + (first + i) % a.rows * a.stride);
}

}  // namespace

template <class F>
decltype(auto) SessionCore::WithFrame(F&& f) const {
  if (model_.single) return f(reinterpret_cast<float*>(frame_));
  return f(reinterpret_cast<double*>(frame_));
}

SessionCore::SessionCore(const ModelCore& model, std::byte* frame) : model_(model), frame_(frame) {
  std::memset(frame_, 0, model.info.session_bytes);
  WithFrame([&](auto* f) { std::fill_n(f + model_.plan.input, model_.plan.input_width, 0); });
  // The reference allocates in every step: there is nothing to warm.
  if (!model_.on_reference() && RunOps() != Status::ok) throw std::bad_alloc();
  Reset();
}

void SessionCore::Reset() noexcept {
  WithFrame([&](auto* f) { std::fill_n(f, model_.plan.state_size, 0); });
  steps_ = 0;
  quality_ = 0;
}

template <class T>
bool SessionCore::TakeInput(std::span<const float> in, T* frame) noexcept {
  const Plan& plan = model_.plan;
  if (plan.wrapper) return plan.wrapper->Before(in.data(), frame);
  bool replaced = false;
  for (size_t i = 0; i < in.size(); ++i) {
    T& held = frame[plan.held + i];
    if (IsUsable(in[i])) {
      held = static_cast<T>(in[i]);
    } else {
      replaced = true;
    }
    frame[plan.input + i] = held;
  }
  return replaced;
}

Status SessionCore::RunOps() noexcept {
  try {
    WithFrame([&]<class T>(T* f) {
      const kernels::Kernels<T>& table = KernelsOf<T>(model_);
      for (const kernels::Op& op : model_.plan.ops) Run(table, op, f, {0, Units(op)});
    });
    return Status::ok;
  } catch (const std::bad_alloc&) {  // only the reference allocates
    return Status::out_of_memory;
  }
}

void SessionCore::GiveOutput(std::span<float> out) noexcept {
  const Plan& plan = model_.plan;
  quality_ = steps_ == 0 ? uint32_t{kReset} : 0;
  WithFrame([&](auto* f) {
    if (plan.wrapper) {
      plan.wrapper->After(steps_, f, out.data());
      if (steps_ < plan.wrapper->warmup()) quality_ |= kWarming;
    } else {
      std::transform(f + plan.output, f + plan.output + out.size(), out.data(),
                     [](auto v) { return static_cast<float>(v); });
    }
  });
  // A frame of doubles keeps what a snapshot would: a stream saved and loaded is the unbroken one.
  if (!model_.single && !model_.on_reference()) {
    WithFrame([&]<class T>(T* f) {
      for (uint32_t i = 0; i < plan.state_size; ++i)
        f[i] = static_cast<T>(static_cast<float>(f[i]));
    });
  }
  ++steps_;
}

Status SessionCore::Step(std::span<const float> in, std::span<float> out) noexcept {
  if (model_.plan.tokens || in.size() != model_.input_width() ||
      out.size() != model_.output_width()) {
    return Status::shape_mismatch;
  }
  const kernels::FlushDenormals flush;
  const bool replaced = WithFrame([&](auto* f) { return TakeInput(in, f); });
  if (const Status s = RunOps(); s != Status::ok) return s;
  GiveOutput(out);
  if (!replaced) return Status::ok;
  quality_ |= kHeld;
  return Status::held;
}

Status SessionCore::Step(int64_t token, std::span<float> out) noexcept {
  if (!model_.plan.tokens || out.size() != model_.output_width()) return Status::shape_mismatch;
  if (token < 0 || token >= formats::VocabSize(model_.info.config)) {
    return Status::invalid_argument;
  }
  const kernels::FlushDenormals flush;
  WithFrame([&]<class T>(T* f) { f[model_.plan.input] = static_cast<T>(token); });
  if (const Status s = RunOps(); s != Status::ok) return s;
  GiveOutput(out);
  return Status::ok;
}

Status SessionCore::Save(std::span<std::byte> out) const noexcept {
  const formats::Directory& d = model_.directory;
  if (out.size() != model_.info.snapshot_bytes) return Status::shape_mismatch;
  std::byte* to = formats::SnapshotValues(out).data();
  WithFrame([&](auto* f) {
    for (const StateArray& a : model_.plan.state) {
      ForEachRow(a, steps_, [&](kernels::Slot row) {
        for (uint32_t j = 0; j < a.cols; ++j, to += sizeof(float)) {
          const auto value = static_cast<float>(f[row + j]);
          std::memcpy(to, &value, sizeof value);
        }
      });
    }
  });
  formats::SealSnapshot({d.arch_hash, d.source_hash, steps_, model_.plan.state_values}, out);
  return Status::ok;
}

Status SessionCore::Load(std::span<const std::byte> snapshot, const LoadOptions& options,
                         Fault* fault) noexcept {
  const formats::Directory& d = model_.directory;
  formats::SnapshotHeader header;
  std::span<const std::byte> values;
  Status status = formats::ReadSnapshot(snapshot, &header, &values, fault);
  if (status != Status::ok) return status;
  status = formats::CheckOrigin(header, {d.arch_hash, d.source_hash, 0, model_.plan.state_values},
                                options.allow_other_weights, fault);
  if (status != Status::ok) return status;
  for (uint64_t i = 0; i < header.count; ++i) {
    float value;
    std::memcpy(&value, values.data() + i * sizeof value, sizeof value);
    if (!std::isfinite(value)) {
      return fault->Set(Status::corrupt, "snapshot: expected finite values, got %g at index %llu",
                        static_cast<double>(value), static_cast<unsigned long long>(i));
    }
  }
  Reset();
  steps_ = header.steps;
  const std::byte* from = values.data();
  WithFrame([&]<class T>(T* f) {
    for (const StateArray& a : model_.plan.state) {
      ForEachRow(a, steps_, [&](kernels::Slot row) {
        for (uint32_t j = 0; j < a.cols; ++j, from += sizeof(float)) {
          float value;
          std::memcpy(&value, from, sizeof value);
          f[row + j] = static_cast<T>(value);
        }
      });
    }
  });
  return Status::ok;
}

void SessionCore::CopyFrom(const SessionCore& other) noexcept {
  std::memcpy(frame_, other.frame_, model_.info.session_bytes);
  steps_ = other.steps_;
  quality_ = other.quality_;
}

}  // namespace xst
