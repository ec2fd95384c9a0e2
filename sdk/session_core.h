// The exception-free core of Session, over a frame in the caller's memory.
#pragma once

#ifdef XST_MINIMAL
#include "sdk/minimal/model_core.h"
#else
#include "sdk/model_core.h"
#endif
#include "sdk/session.h"

namespace xst {

class SessionCore {
 public:
  // `frame`: info.session_bytes, 64-byte aligned; `model` outlives this. Nothing but Start comes
  // next. Where the model is on a device of its own, `streams` (which outlives this) has the ops'
  // state and runs them, and this is its lane `lane`. With `split` and a model on cpu:N its threads
  // share a step; the state then lies where the model's TeamPlan has it.
  SessionCore(const ModelCore& model, std::byte* frame, DeviceStreams* streams = nullptr,
              uint32_t lane = 0, bool split = false) noexcept;
  // Warms everything and resets. Errors: out_of_memory, device_failed.
  Status Start(Fault* fault) noexcept;

  const ModelCore& model() const { return model_; }
  uint32_t quality() const { return quality_; }
  uint64_t steps() const { return steps_; }
  std::byte* frame() const { return frame_; }  // of elements of the model's type

  Status Step(std::span<const float> in, std::span<float> out) noexcept;
  Status Step(int64_t token, std::span<float> out) noexcept;

  // As Session::forward; a device's streams have this one lane.
  Status Forward(std::span<const float> in, std::span<float> out) noexcept;
  Status Forward(std::span<const int64_t> tokens, std::span<float> out) noexcept;

  // Step in three parts, so that several lanes may share the second: Begin takes the input (ok,
  // held, or an error that changes nothing), the ops run, End gives the output.
  Status Begin(std::span<const float> in) noexcept;
  Status Begin(int64_t token) noexcept;
  void End(Status begun, std::span<float> out) noexcept;

  // The same for many steps at once. BeginSteps leaves what the ops read of every step in `to`,
  // [steps][plan.input_width]; EndSteps gives the outputs from what the ops wrote, `from`
  // [steps][plan.output_width], or with fewer rows in `out` and `from` those of the last steps. The
  // second may follow after the first of later steps. `in` is empty where tokens are read. `held`
  // goes from BeginSteps to BeginSteps: HeldInputs() at first.
  template <class T>
  std::vector<T> HeldInputs() const;
  template <class T>
  Status BeginSteps(std::span<const float> in, std::vector<T>* held, T* to);
  template <class T>
  void EndSteps(std::span<const float> in, Status begun, uint64_t steps, const T* from,
                std::span<float> out);

  Status Reset() noexcept;
  Status Save(std::span<std::byte> out) const noexcept;
  Status Load(std::span<const std::byte> snapshot, const LoadOptions& options,
              Fault* fault) noexcept;
  // Takes over the state of a stream of the same model, split if this one is.
  Status CopyFrom(const SessionCore& other) noexcept;

 private:
  // The frame as the model's element type; on a device its first ops_state_size elements are not
  // there.
  template <class F>
  decltype(auto) WithFrame(F&& f) const;
  // f(slot's element) for every value of a snapshot in order; on a device those of the ops lie in
  // its state buffer.
  template <class F>
  void ForEachValue(uint64_t steps, F&& f) const;
  // Where a bare model's last usable inputs are: on a device they are what the ops read last.
  template <class T>
  T* Held(T* frame) const;
  template <class T>
  bool TakeInput(std::span<const float> in, T* frame) noexcept;
  Status RunOps() noexcept;
  // Forward of checked arguments, one of `in` and `tokens` empty: on the CPU, which may throw
  // bad_alloc with nothing changed; on anything, unless it is left to steps.
  Status ForwardSteps(std::span<const float> in, std::span<const int64_t> tokens, uint64_t steps,
                      std::span<float> out);
  Status ForwardMany(std::span<const float> in, std::span<const int64_t> tokens, uint64_t steps,
                     std::span<float> out, bool* done) noexcept;
  // The state that lies elsewhere than in the Plan.
  std::span<const Moved> Moves() const;
  // The part of the state that is here becomes zero.
  void ClearFrame() noexcept;
  // From `rows`, what the ops wrote.
  template <class T>
  void GiveOutput(const T* rows, T* frame, std::span<float> out) noexcept;

  const ModelCore& model_;
  std::byte* frame_;  // where element 0 is, or would be
  DeviceStreams* streams_;
  uint32_t lane_;
  const TeamPlan* split_;  // null: one thread runs the Plan's ops
  uint64_t steps_ = 0;
  uint32_t quality_ = 0;
};

}  // namespace xst
