// SessionCore::Forward.
#include <algorithm>
#include <new>

#include "sdk/device_steps.h"
#include "sdk/session_core.h"
#include "sdk/step_sequence.h"

namespace xst {
namespace {

// Fewer are done before a piece's memory is there.
constexpr size_t kFewestSteps = 4;

}  // namespace

Status SessionCore::ForwardSteps(std::span<const float> in, std::span<const int64_t> tokens,
                                 uint64_t steps, std::span<float> out) {
  const Plan& plan = model_.plan;
  const size_t in_width = plan.tokens ? 0 : model_.input_width();
  const size_t out_width = model_.output_width();
  const bool last_only = out.size() < steps * out_width;
  StepSequence sequence(model_, steps);
  std::vector<float> held = HeldInputs<float>();
  const kernels::FlushDenormals flush;
  // A team's state lies where its members want it; this is one thread's work, on the Plan's places.
  float* const frame = reinterpret_cast<float*>(frame_);
  for (const Moved& m : Moves()) std::copy_n(frame + m.to, m.end - m.begin, frame + m.begin);
  Status result = Status::ok, begun[StepSequence::kMost] = {};
  for (uint64_t first = 0; first < steps; first += StepSequence::kMost) {
    const size_t n = std::min<uint64_t>(StepSequence::kMost, steps - first);
    const auto row = [&](size_t t) { return in.subspan((first + t) * in_width, in_width); };
    for (size_t t = 0; t < n; ++t) {
      float* to = sequence.frame(t) + plan.ops_input;
      if (plan.tokens) {
        *to = static_cast<float>(tokens[first + t]);
      } else {
        begun[t] = BeginSteps(row(t), &held, to);
        if (begun[t] == Status::held) result = Status::held;
      }
    }
    const bool ends = first + n == steps;
    using Outputs = StepSequence::Outputs;
    sequence.Run(frame, n,
                 !last_only ? Outputs::all
                 : ends     ? Outputs::last
                            : Outputs::none);
    for (size_t t = 0; t < n; ++t) {
      const bool wanted = !last_only || (ends && t + 1 == n);
      EndSteps(row(t), begun[t], 1, sequence.frame(t) + plan.output,
               out.subspan(last_only ? 0 : (first + t) * out_width, wanted ? out_width : 0));
    }
  }
  for (const Moved& m : Moves()) std::copy_n(frame + m.begin, m.end - m.begin, frame + m.to);
  return result;
}

Status SessionCore::ForwardMany(std::span<const float> in, std::span<const int64_t> tokens,
                                uint64_t steps, std::span<float> out, bool* done) noexcept {
  *done = true;
  if (streams_) {
    LaneSteps lane = {this, lane_, in, tokens, out};
    return RunStepsOf(*streams_, model_, {&lane, 1}, steps);
  }
  // In double, state is rounded between steps.
  if (!model_.wide && steps >= kFewestSteps) {
    try {
      return ForwardSteps(in, tokens, steps, out);
    } catch (const std::bad_alloc&) {  // nothing has changed
    }
  }
  *done = false;
  return Status::ok;
}

Status SessionCore::Forward(std::span<const float> in, std::span<float> out) noexcept {
  const size_t in_width = model_.input_width(), out_width = model_.output_width();
  const size_t steps = out.size() / out_width;
  if (model_.plan.tokens || steps * out_width != out.size() || steps * in_width != in.size()) {
    return Status::shape_mismatch;
  }
  bool done;
  Status status = ForwardMany(in, {}, steps, out, &done);
  for (size_t t = 0; !done && t < steps; ++t) {
    const Status s =
        Step(in.subspan(t * in_width, in_width), out.subspan(t * out_width, out_width));
    if (s != Status::ok && s != Status::held) return s;
    if (s == Status::held) status = s;
  }
  return status;
}

Status SessionCore::Forward(std::span<const int64_t> tokens, std::span<float> out) noexcept {
  const size_t width = model_.output_width();
  const bool last_only = out.size() == width && !tokens.empty();
  if (!model_.plan.tokens || (!last_only && tokens.size() * width != out.size())) {
    return Status::shape_mismatch;
  }
  for (int64_t token : tokens) {
    if (token < 0 || token >= formats::VocabSize(model_.info.config)) {
      return Status::invalid_argument;
    }
  }
  bool done;
  Status status = ForwardMany({}, tokens, tokens.size(), out, &done);
  for (size_t t = 0; !done && t < tokens.size(); ++t) {
    const Status s = Step(tokens[t], out.subspan(last_only ? 0 : t * width, width));
    if (s != Status::ok) return s;
  }
  return status;
}

}  // namespace xst
