// A model whose weights and state fit the chip, and a stream of it whose kernel may stay there.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

#include "kernels/cuda/on_chip.h"
#include "sdk/cuda/memory.h"

namespace xst::cuda {

// The plan and the packed weights, made once for a model.
class OnChipModel {
 public:
  // Makes it for the current device, index `device`; afterwards fits() says whether there is one.
  cudaError_t Open(const kernels::cuda::Stack& stack, bool wide, uint32_t device);

  bool fits() const { return plan_.has_value(); }
  const std::string& why() const { return why_; }  // it does not fit
  const kernels::cuda::OnChipPlan& plan() const { return *plan_; }
  uint8_t* image() const { return image_.data(); }

 private:
  std::optional<kernels::cuda::OnChipPlan> plan_;
  std::string why_;
  DeviceBuffer<uint8_t> image_;
};

// One stream's steps with the weights on the chip: a launch a step, or a kernel that stays and
// takes its steps from a mailbox. The state is in the frame whenever no kernel stays.
template <class T>
class OnChipStepper {
 public:
  OnChipStepper(const OnChipModel& model, T* frame, cudaStream_t stream)
      : model_(model), frame_(frame), stream_(stream) {}
  ~OnChipStepper() { Rest(); }

  cudaError_t Allocate(uint32_t input_width, uint32_t output_width);

  // Enqueues a step from `in` to `out`, mapped host memory; capturable.
  cudaError_t Launch(const T* in, T* out);
  // Whether the last step's blocks lost each other; to be asked when the step has ended.
  bool failed() const { return *failed_.data() != 0; }

  // A step by the kernel that stays, which is launched if it is not there.
  cudaError_t StepResident(const T* in, T* out);
  // Ends the kernel that stays; the state is in the frame then.
  cudaError_t Rest();

 private:
  cudaError_t Stay();
  kernels::cuda::OnChipStream<T> stream() const {
    return {model_.image(), exchange_.data(), frame_};
  }

  const OnChipModel& model_;
  T* const frame_;
  const cudaStream_t stream_;
  DeviceBuffer<uint8_t> exchange_;
  PinnedBuffer<uint32_t> failed_;
  PinnedBuffer<std::byte> mailbox_;
  kernels::cuda::MailboxHost<T> host_;
  uint32_t launch_ = 0;  // of the kernel that stays, if `staying_`
  bool staying_ = false;
};

}  // namespace xst::cuda
