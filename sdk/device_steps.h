// Several steps of streams that are on a device of their own.
#pragma once

#include <algorithm>
#include <span>
#include <vector>

#include "sdk/session_core.h"

namespace xst {

// One stream of a call: its lane, its inputs (one of them) and where its outputs go.
struct LaneSteps {
  SessionCore* core;
  uint32_t lane;
  std::span<const float> in;        // [steps][input_width]
  std::span<const int64_t> tokens;  // [steps], checked
  std::span<float> out;             // [steps][output_width], or [output_width] of the last step
};

// The streams of `lanes`, which are the device's active ones. Returns held if an input was
// replaced. May throw bad_alloc, with nothing changed.
template <class T>
Status RunSteps(DeviceStreams& device, const ModelCore& model, std::span<LaneSteps> lanes,
                uint64_t steps) {
  if (steps == 0 || lanes.empty()) return Status::ok;
  constexpr uint32_t kPieces = DeviceStreams::kPieces;
  const Plan& plan = model.plan;
  const uint64_t in_width = plan.tokens ? 0 : model.input_width();
  const uint64_t out_width = model.output_width();
  std::vector<std::vector<T>> held;
  for (const LaneSteps& lane : lanes) held.push_back(lane.core->HeldInputs<T>());
  std::vector<Status> begun(lanes.size() * kPieces, Status::ok);
  const bool last_only = lanes[0].out.size() < steps * out_width;
  uint32_t most = 0;
  const auto wanted = static_cast<uint32_t>(std::min<uint64_t>(steps, 1u << 30));
  if (const Status s = device.PrepareSteps(wanted, last_only, &most); s != Status::ok) return s;
  const uint64_t at_once = most;
  const uint64_t pieces = (steps + at_once - 1) / at_once;
  const auto count = [&](uint64_t piece) { return std::min(at_once, steps - piece * at_once); };

  const auto begin = [&](uint64_t piece) {
    const uint64_t first = piece * at_once, n = count(piece);
    const auto slot = static_cast<uint32_t>(piece % kPieces);
    for (size_t i = 0; i < lanes.size(); ++i) {
      const LaneSteps& l = lanes[i];
      T* to = static_cast<T*>(device.steps_input(slot)) + l.lane * n * plan.input_width;
      if (plan.tokens) {
        std::copy_n(l.tokens.begin() + static_cast<ptrdiff_t>(first), n, to);
      } else {
        begun[i * kPieces + slot] =
            l.core->BeginSteps(l.in.subspan(first * in_width, n * in_width), &held[i], to);
      }
    }
    return device.StartSteps(slot, static_cast<uint32_t>(n));
  };
  Status result = Status::ok;
  const auto end = [&](uint64_t piece) {
    const uint64_t first = piece * at_once, n = count(piece);
    const auto slot = static_cast<uint32_t>(piece % kPieces);
    if (const Status s = device.FinishSteps(slot); s != Status::ok) return s;
    for (size_t i = 0; i < lanes.size(); ++i) {
      const LaneSteps& l = lanes[i];
      const uint64_t rows = last_only ? 1 : n;
      const T* from =
          static_cast<const T*>(device.steps_output(slot)) + l.lane * rows * plan.output_width;
      auto out = l.out;
      if (!last_only) {
        out = out.subspan(first * out_width, n * out_width);
      } else if (piece + 1 < pieces) {
        out = out.first(0);
      }
      const Status b = begun[i * kPieces + slot];
      if (b == Status::held) result = b;
      l.core->EndSteps(l.in.empty() ? l.in : l.in.subspan(first * in_width, n * in_width), b, n,
                       from, out);
    }
    return Status::ok;
  };

  Status status = Status::ok;
  for (uint64_t piece = 0; piece < pieces + kPieces && status == Status::ok; ++piece) {
    if (piece >= kPieces && piece - kPieces < pieces) status = end(piece - kPieces);
    if (piece < pieces && status == Status::ok) status = begin(piece);
  }
  return status == Status::ok ? result : status;
}

// The same for either element type, without exceptions.
inline Status RunStepsOf(DeviceStreams& device, const ModelCore& model, std::span<LaneSteps> lanes,
                         uint64_t steps) noexcept {
  try {
    return model.wide ? RunSteps<double>(device, model, lanes, steps)
                      : RunSteps<float>(device, model, lanes, steps);
  } catch (const std::bad_alloc&) {
    return Status::out_of_memory;
  }
}

}  // namespace xst
