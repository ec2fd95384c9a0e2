// The exception-free core of Session, over a frame in the caller's memory.
#pragma once

#include "sdk/model_core.h"
#include "sdk/session.h"

namespace xst {

class SessionCore {
 public:
  // `frame`: info.session_bytes, 64-byte aligned; `model` outlives this. Warms everything and
  // resets.
  SessionCore(const ModelCore& model, std::byte* frame);

  const ModelCore& model() const { return model_; }
  uint32_t quality() const { return quality_; }
  uint64_t steps() const { return steps_; }

  Status Step(std::span<const float> in, std::span<float> out) noexcept;
  Status Step(int64_t token, std::span<float> out) noexcept;
  void Reset() noexcept;
  Status Save(std::span<std::byte> out) const noexcept;
  Status Load(std::span<const std::byte> snapshot, const LoadOptions& options,
              Fault* fault) noexcept;
  // Takes over the state of a stream of the same model.
  void CopyFrom(const SessionCore& other) noexcept;

 private:
  // The frame as the device's element type.
  template <class F>
  decltype(auto) WithFrame(F&& f) const;
  template <class T>
  bool TakeInput(std::span<const float> in, T* frame) noexcept;
  Status RunOps() noexcept;
  void GiveOutput(std::span<float> out) noexcept;

  const ModelCore& model_;
  std::byte* frame_;
  uint64_t steps_ = 0;
  uint32_t quality_ = 0;
};

}  // namespace xst
