#include "sdk/session_core.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

#include "formats/snapshot.h"

namespace xst {
namespace {

// IsUsable of all of them, in integers, which the compiler makes vectors of.
bool AllUsable(std::span<const float> in) {
  constexpr uint32_t kMagnitude = 0x7fffffff, kLargest = std::bit_cast<uint32_t>(kLargestInput);
  uint32_t beyond = 0;
  for (const float x : in) beyond |= kLargest - (std::bit_cast<uint32_t>(x) & kMagnitude);
  return beyond >> 31 == 0;
}

// Takes the usable values over; true if others are held instead.
template <class T>
bool Hold(std::span<const float> in, T* held) {
  if (AllUsable(in)) {
    std::copy(in.begin(), in.end(), held);
    return false;
  }
  for (size_t i = 0; i < in.size(); ++i) {
    if (IsUsable(in[i])) held[i] = static_cast<T>(in[i]);
  }
  return true;
}

}  // namespace

template <class F>
decltype(auto) SessionCore::WithFrame(F&& f) const {
  if (!model_.wide) return f(reinterpret_cast<float*>(frame_));
  return f(reinterpret_cast<double*>(frame_));
}

template <class F>
void SessionCore::ForEachValue(uint64_t steps, F&& f) const {
  Whereabouts where(Moves());
  WithFrame([&]<class T>(T* frame) {
    for (const StateArray& a : model_.plan.state) {
      T* base = frame;
      if (a.slot < model_.away()) {
        base = static_cast<T*>(streams_->state_buffer());
      } else if (a.slot == model_.plan.held && !model_.plan.tokens) {
        base = Held(frame) - a.slot;
      }
      const uint32_t first = a.ring ? static_cast<uint32_t>(steps % a.rows) : 0;
      for (uint32_t i = 0; i < a.rows; ++i) {
        const kernels::Slot row = a.slot + (first + i) % a.rows * a.stride;
        for (uint32_t j = 0; j < a.cols; ++j) f(base[where.Find(row + j)]);
      }
    }
  });
}

SessionCore::SessionCore(const ModelCore& model, std::byte* frame, DeviceStreams* streams,
                         uint32_t lane, bool split) noexcept
    : model_(model),
      frame_(frame - model.away() * model.element_bytes()),
      streams_(streams),
      lane_(lane),
      split_(split ? model.split_plan() : nullptr) {
  std::memset(frame, 0, model.info.session_bytes);
  WithFrame([&](auto* f) { std::fill_n(f + model_.plan.input, model_.plan.input_width, 0); });
}

Status SessionCore::Start(Fault* fault) noexcept {
  // The reference allocates in every step, and a device has warmed itself: there is nothing to
  // warm.
  Status s = model_.on_reference() || streams_ ? Status::ok : RunOps();
  if (s == Status::ok) s = Reset();
  return s == Status::ok ? s : fault->Set(s, "stream: %s", Describe(s));
}

std::span<const Moved> SessionCore::Moves() const {
  if (!split_) return {};
  return split_->moved;
}

void SessionCore::ClearFrame() noexcept {
  WithFrame([&](auto* f) {
    std::fill(f + model_.away(), f + model_.plan.state_size, 0);
    for (const Moved& m : Moves()) std::fill(f + m.to, f + m.to + (m.end - m.begin), 0);
    if (!model_.plan.tokens) std::fill_n(Held(f), model_.plan.input_width, 0);
  });
}

Status SessionCore::Reset() noexcept {
  ClearFrame();
  steps_ = 0;
  quality_ = 0;
  return streams_ ? streams_->ResetState(lane_) : Status::ok;
}

template <class T>
T* SessionCore::Held(T* frame) const {
  const Plan& plan = model_.plan;
  return streams_ && !plan.wrapper
             ? static_cast<T*>(streams_->input()) + size_t{lane_} * plan.input_width
             : frame + plan.held;
}

template <class T>
bool SessionCore::TakeInput(std::span<const float> in, T* frame) noexcept {
  const Plan& plan = model_.plan;
  if (plan.wrapper) return plan.wrapper->Before(in.data(), frame);
  T* const held = Held(frame);
  const bool replaced = Hold(in, held);
  if (!streams_) std::copy_n(held, in.size(), frame + plan.input);
  return replaced;
}

Status SessionCore::RunOps() noexcept {
  if (streams_) {
    const Status s = streams_->Start(0);
    return s == Status::ok ? streams_->Finish(0) : s;
  }
  // Only the reference allocates.
  return CatchBadAlloc([&] {
    WithFrame([&]<class T>(T* f) {
      if (split_) return model_.RunSplit(f);
      const kernels::Kernels<T>& table = model_.table<T>();
      for (const auto& op : model_.plan.ops) Run(table, op, f);
    });
    return Status::ok;
  });
}

template <class T>
void SessionCore::GiveOutput(const T* rows, T* frame, std::span<float> out) noexcept {
  const Plan& plan = model_.plan;
  quality_ = steps_ == 0 ? uint32_t{kReset} : 0;
  if (plan.wrapper) {
    if (rows != frame + plan.output) std::copy_n(rows, plan.output_width, frame + plan.output);
    plan.wrapper->After(steps_, frame, out.data());
    if (steps_ < plan.wrapper->warmup()) quality_ |= kWarming;
  } else {
    std::transform(rows, rows + out.size(), out.data(), [](T v) { return static_cast<float>(v); });
  }
  // A frame of doubles keeps what a snapshot would: a stream saved and loaded is the unbroken one.
  if (model_.wide && !model_.on_reference()) {
    const auto round = [&](kernels::Slot begin, kernels::Slot end) {
      for (; begin < end; ++begin) frame[begin] = static_cast<T>(static_cast<float>(frame[begin]));
    };
    round(model_.away(), plan.state_size);
    for (const Moved& m : Moves()) round(m.to, m.to + (m.end - m.begin));
  }
  ++steps_;
}

Status SessionCore::Begin(std::span<const float> in) noexcept {
  const Plan& plan = model_.plan;
  if (plan.tokens || in.size() != model_.input_width()) return Status::shape_mismatch;
  const bool replaced = WithFrame([&]<class T>(T* f) {
    const bool r = TakeInput(in, f);
    if (streams_ && plan.wrapper) {
      std::copy_n(f + plan.ops_input, plan.input_width,
                  static_cast<T*>(streams_->input()) + size_t{lane_} * plan.input_width);
    }
    return r;
  });
  return replaced ? Status::held : Status::ok;
}

Status SessionCore::Begin(int64_t token) noexcept {
  if (!model_.plan.tokens) return Status::shape_mismatch;
  if (token < 0 || token >= model_.plan.output_width) {
    return Status::invalid_argument;
  }
  WithFrame([&]<class T>(T* f) {
    f[model_.plan.input] = static_cast<T>(token);
    if (streams_) static_cast<T*>(streams_->input())[lane_] = static_cast<T>(token);
  });
  return Status::ok;
}

void SessionCore::End(Status begun, std::span<float> out) noexcept {
  const Plan& plan = model_.plan;
  WithFrame([&]<class T>(T* f) {
    const T* rows =
        streams_ ? static_cast<const T*>(streams_->output()) + size_t{lane_} * plan.output_width
                 : f + plan.output;
    GiveOutput(rows, f, out);
  });
  if (begun == Status::held) quality_ |= kHeld;
}

Status SessionCore::Step(std::span<const float> in, std::span<float> out) noexcept {
  if (out.size() != model_.output_width()) return Status::shape_mismatch;
  const kernels::FlushDenormals flush;
  const Status begun = Begin(in);
  if (begun != Status::ok && begun != Status::held) return begun;
  if (const Status s = RunOps(); s != Status::ok) return s;
  End(begun, out);
  return begun;
}

Status SessionCore::Step(int64_t token, std::span<float> out) noexcept {
  if (out.size() != model_.output_width()) return Status::shape_mismatch;
  const kernels::FlushDenormals flush;
  if (const Status s = Begin(token); s != Status::ok) return s;
  if (const Status s = RunOps(); s != Status::ok) return s;
  End(Status::ok, out);
  return Status::ok;
}

template <class T>
std::vector<T> SessionCore::HeldInputs() const {
  if (model_.plan.tokens) return {};
  const T* held = Held(reinterpret_cast<T*>(frame_));
  return {held, held + model_.plan.input_width};
}
template std::vector<float> SessionCore::HeldInputs() const;
template std::vector<double> SessionCore::HeldInputs() const;

template <class T>
Status SessionCore::BeginSteps(std::span<const float> in, std::vector<T>* held, T* to) {
  const Plan& plan = model_.plan;
  T* const f = reinterpret_cast<T*>(frame_);
  const size_t width = model_.input_width();
  const float* const first = in.data();
  bool replaced = false;
  // The wrapper holds its inputs in the frame, where EndSteps of earlier steps needs its own.
  if (plan.wrapper) std::swap_ranges(held->begin(), held->end(), f + plan.held);
  for (; !in.empty(); in = in.subspan(width), to += plan.input_width) {
    if (plan.wrapper) {
      replaced |= TakeInput(in.first(width), f);
      std::copy_n(f + plan.ops_input, plan.input_width, to);
    } else if (!Hold(in.first(width), to)) {
      if (in.size() == width) std::copy_n(to, width, held->data());
    } else {
      // Of the row before, or of all that came before this piece.
      const T* before = in.data() == first ? held->data() : to - plan.input_width;
      for (size_t i = 0; i < width; ++i) {
        if (!IsUsable(in[i])) to[i] = before[i];
      }
      std::copy_n(to, width, held->data());
      replaced = true;
    }
  }
  if (plan.wrapper) std::swap_ranges(held->begin(), held->end(), f + plan.held);
  return replaced ? Status::held : Status::ok;
}
template Status SessionCore::BeginSteps(std::span<const float>, std::vector<float>*, float*);
template Status SessionCore::BeginSteps(std::span<const float>, std::vector<double>*, double*);

template <class T>
void SessionCore::EndSteps(std::span<const float> in, Status begun, uint64_t steps, const T* from,
                           std::span<float> out) {
  const Plan& plan = model_.plan;
  T* const f = reinterpret_cast<T*>(frame_);
  const size_t width = model_.output_width();
  steps_ += steps - out.size() / width;
  for (; !out.empty(); out = out.subspan(width), from += plan.output_width) {
    bool replaced = false;
    if (!in.empty()) {
      const auto row = in.first(model_.input_width());
      in = in.subspan(row.size());
      // Of a bare model only what is held in the end matters, unless something was.
      const bool matters = plan.wrapper || begun == Status::held || in.empty();
      replaced = matters && TakeInput(row, f);
    }
    GiveOutput(from, f, out.first(width));
    if (replaced) quality_ |= kHeld;
  }
}
template void SessionCore::EndSteps(std::span<const float>, Status, uint64_t, const float*,
                                    std::span<float>);
template void SessionCore::EndSteps(std::span<const float>, Status, uint64_t, const double*,
                                    std::span<float>);

Status SessionCore::Save(std::span<std::byte> out) const noexcept {
  if (out.size() != model_.info.snapshot_bytes) return Status::shape_mismatch;
  if (streams_) {
    if (const Status s = streams_->ReadState(lane_); s != Status::ok) return s;
  }
  std::byte* to = formats::SnapshotValues(out).data();
  ForEachValue(steps_, [&](auto v) {
    const auto value = static_cast<float>(v);
    std::memcpy(to, &value, sizeof value);
    to += sizeof value;
  });
  formats::SealSnapshot(model_.Origin(steps_), out);
  return Status::ok;
}

Status SessionCore::Load(std::span<const std::byte> snapshot, const LoadOptions& options,
                         Fault* fault) noexcept {
  formats::SnapshotHeader header;
  std::span<const std::byte> values;
  Status status = formats::ReadSnapshot(snapshot, &header, &values, fault);
  if (status != Status::ok) return status;
  status = formats::CheckOrigin(header, model_.Origin(0), options.allow_other_weights, fault);
  if (status != Status::ok) return status;
  for (uint64_t i = 0; i < header.count; ++i) {
    float value;
    std::memcpy(&value, values.data() + i * sizeof value, sizeof value);
    if (!std::isfinite(value)) {
      return fault->Set(Status::corrupt, "snapshot: expected finite values, got %g at index %llu",
                        static_cast<double>(value), static_cast<unsigned long long>(i));
    }
  }
  if (streams_) {
    void* buffer = streams_->state_buffer();
    if (!buffer) {
      return fault->Set(Status::out_of_memory, "snapshot: expected memory for a state, got none");
    }
    std::memset(buffer, 0, model_.away() * model_.element_bytes());
  }
  ClearFrame();
  steps_ = header.steps;
  quality_ = 0;
  const std::byte* from = values.data();
  ForEachValue(steps_, [&]<class T>(T& v) {
    float value;
    std::memcpy(&value, from, sizeof value);
    from += sizeof value;
    v = static_cast<T>(value);
  });
  if (!streams_) return Status::ok;
  status = streams_->WriteState(lane_);
  return status == Status::ok ? status : fault->Set(status, "snapshot: %s", Describe(status));
}

Status SessionCore::CopyFrom(const SessionCore& other) noexcept {
  const size_t away = model_.away() * model_.element_bytes();
  std::memcpy(frame_ + away, other.frame_ + away, model_.info.session_bytes);
  if (!model_.plan.tokens) {
    WithFrame([&]<class T>(T* f) {
      std::copy_n(other.Held(reinterpret_cast<T*>(other.frame_)), model_.plan.input_width, Held(f));
    });
  }
  steps_ = other.steps_;
  quality_ = other.quality_;
  if (!streams_) return Status::ok;
  if (const Status s = other.streams_->ReadState(other.lane_); s != Status::ok) return s;
  void* buffer = streams_->state_buffer();
  if (!buffer) return Status::out_of_memory;
  if (streams_ != other.streams_) std::memcpy(buffer, other.streams_->state_buffer(), away);
  return streams_->WriteState(lane_);
}

}  // namespace xst
