// What a device with memory of its own does for the sdk: it holds a model's weights and steps
// frames. A backend is a shared library that is opened when a model asks for its device, so that a
// machine without it runs everything else.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "formats/status.h"
#include "sdk/plan.h"

namespace xst {

// Some streams of a model, stepped together; one thread at a time. Values are float, or double in a
// wide model. The buffers are host memory that lives as long as this, where not said otherwise.
// After creation only PrepareSteps and the first state_buffer allocate. When a call returns
// device_failed every later one does.
class DeviceStreams {
 public:
  virtual ~DeviceStreams() = default;

  virtual uint32_t lanes() const = 0;
  virtual void* input() = 0;         // [lanes][plan.input_width], what the ops read
  virtual const void* output() = 0;  // [lanes][plan.output_width]
  virtual uint8_t* active() = 0;     // [lanes], not 0: the lane steps; all 1 at first

  // One step of the active lanes, from input() to output(), a group after the other: group g is the
  // lanes [g * group_lanes(), ...), and one may be prepared here while another runs. Start sets a
  // group going, maybe beside others; Finish waits for it.
  virtual uint32_t group_lanes() const = 0;
  virtual Status Start(uint32_t group) noexcept = 0;
  virtual Status Finish(uint32_t group) noexcept = 0;
  // Several steps at once of the active lanes, in pieces: one is prepared here while the one before
  // it runs. PrepareSteps makes room for pieces of up to `at_once` steps, at most `steps`, in the
  // buffers of kPieces, valid until the next PrepareSteps: steps_input(piece)
  // [lanes][count][plan.input_width], steps_output(piece) [lanes][count][plan.output_width], or,
  // `last_only`, [lanes][plan.output_width] of a piece's last step. StartSteps runs `count` steps
  // of a piece behind all that were started before; FinishSteps waits for it.
  static constexpr uint32_t kPieces = 2;
  virtual Status PrepareSteps(uint32_t steps, bool last_only, uint32_t* at_once) noexcept = 0;
  virtual void* steps_input(uint32_t piece) = 0;
  virtual const void* steps_output(uint32_t piece) = 0;
  virtual Status StartSteps(uint32_t piece, uint32_t count) noexcept = 0;
  virtual Status FinishSteps(uint32_t piece) noexcept = 0;

  // The state of the ops, [plan.ops_state_size], of one lane. Null: no memory.
  virtual void* state_buffer() noexcept = 0;
  virtual Status ReadState(uint32_t lane) noexcept = 0;   // into the buffer
  virtual Status WriteState(uint32_t lane) noexcept = 0;  // from the buffer
  virtual Status ResetState(uint32_t lane) noexcept = 0;  // zeros
};

// A model's weights on a device; thread-safe. It outlives its streams.
class DeviceModel {
 public:
  virtual ~DeviceModel() = default;
  virtual const char* name() const = 0;  // of the architecture, "sm_90"
  // Warms everything. Errors: out_of_memory, device_failed.
  virtual Status MakeStreams(uint32_t lanes, std::unique_ptr<DeviceStreams>* out,
                             Fault* fault) const noexcept = 0;
};

struct DeviceRequest {
  const Plan* plan = nullptr;  // outlives the model
  uint32_t index = 0;          // of the device
  bool wide = false;
  bool resident = false;      // one stream's kernel stays on the device between steps
  bool bf16_forward = false;  // many steps of one Large stream take bf16 between products
};

// The one symbol of a backend, "xst_open_device". `version` is the caller's kBackendVersion.
// Errors: no_device, out_of_memory, device_failed.
inline constexpr uint32_t kBackendVersion = 1;
using OpenDeviceFunction = Status(uint32_t version, const DeviceRequest& request,
                                  std::unique_ptr<DeviceModel>* out, Fault* fault);

// Opens the CUDA backend (once a process) and puts the model on the device it names.
Status OpenCudaModel(const DeviceRequest& request, std::unique_ptr<DeviceModel>* out, Fault* fault);

}  // namespace xst
