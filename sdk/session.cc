#include "sdk/session.h"

#include "sdk/session_core.h"

namespace xst {

// A stream's memory, on the model's device and here, and the core that works in it.
struct Session::Stream {
  Stream(const ModelCore& model, std::unique_ptr<DeviceStreams> on_device, Memory memory)
      : device(std::move(on_device)),
        frame(std::move(memory)),
        core(model, frame.bytes().data(), device.get(), 0, true) {}
  std::unique_ptr<DeviceStreams> device;
  Memory frame;
  SessionCore core;
};

Session::Session(std::shared_ptr<const Model> model) : model_(std::move(model)) {
  const ModelCore& core = model_->core();
  std::unique_ptr<DeviceStreams> device;
  Memory frame;
  Fault fault;
  if (core.device_model && core.device_model->MakeStreams(1, &device, &fault) != Status::ok) {
    throw Error(fault);
  }
  if (Memory::Allocate(core.info.session_bytes, &frame, &fault) != Status::ok) throw Error(fault);
  try {
    stream_ = std::make_unique<Stream>(core, std::move(device), std::move(frame));
  } catch (const std::bad_alloc&) {
    throw Error(Status::out_of_memory, "session: expected memory for a stream, got none");
  }
  if (stream_->core.Start(&fault) != Status::ok) throw Error(fault);
}

Session::~Session() = default;
Session::Session(Session&&) noexcept = default;
Session& Session::operator=(Session&& other) noexcept {
  stream_ = std::move(other.stream_);  // before the model that it works on
  model_ = std::move(other.model_);
  return *this;
}

Status Session::step(std::span<const float> in, std::span<float> out) noexcept {
  return stream_->core.Step(in, out);
}

Status Session::step(int64_t token, std::span<float> out) noexcept {
  return stream_->core.Step(token, out);
}

Status Session::forward(std::span<const float> in, std::span<float> out) noexcept {
  return stream_->core.Forward(in, out);
}

Status Session::forward(std::span<const int64_t> tokens, std::span<float> out) noexcept {
  return stream_->core.Forward(tokens, out);
}

uint32_t Session::quality() const noexcept { return stream_->core.quality(); }
uint64_t Session::steps() const noexcept { return stream_->core.steps(); }
void Session::reset() noexcept { stream_->core.Reset(); }

std::vector<std::byte> Session::save() const {
  std::vector<std::byte> bytes(model_->info().snapshot_bytes);
  if (const Status s = stream_->core.Save(bytes); s != Status::ok) {
    throw Error(s, std::string("save: ") + Describe(s));
  }
  return bytes;
}

Status Session::save(std::span<std::byte> out) const noexcept { return stream_->core.Save(out); }

Status Session::load(std::span<const std::byte> snapshot, const LoadOptions& options,
                     Fault* fault) noexcept {
  return stream_->core.Load(snapshot, options, fault);
}

void Session::load(std::span<const std::byte> snapshot, const LoadOptions& options) {
  Fault fault;
  if (load(snapshot, options, &fault) != Status::ok) throw Error(fault);
}

Session Session::clone() const {
  Session copy(model_);
  if (const Status s = copy.stream_->core.CopyFrom(stream_->core); s != Status::ok) {
    throw Error(s, std::string("clone: ") + Describe(s));
  }
  return copy;
}

const std::shared_ptr<const Model>& Session::model() const { return model_; }

}  // namespace xst
