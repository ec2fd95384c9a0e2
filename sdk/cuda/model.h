// A model on one CUDA device.
#pragma once

#include <string>
#include <vector>

#include "kernels/cuda/gemv.h"
#include "sdk/cuda/on_chip.h"
#include "sdk/cuda/weights.h"
#include "sdk/device_backend.h"

namespace xst::cuda {

class CudaModel : public DeviceModel {
 public:
  explicit CudaModel(const DeviceRequest& request)
      : plan_(*request.plan),
        device_(request.index),
        wide_(request.wide),
        resident_(request.resident),
        bf16_forward_(request.bf16_forward) {}
  ~CudaModel() override;

  Status Open(Fault* fault);  // uploads the weights

  const char* name() const override { return name_.c_str(); }
  Status MakeStreams(uint32_t lanes, std::unique_ptr<DeviceStreams>* out,
                     Fault* fault) const noexcept override;

  const Plan& plan() const { return plan_; }
  const std::vector<kernels::Op>& ops() const { return ops_; }  // with device pointers
  uint32_t device() const { return device_; }
  const kernels::cuda::DeviceShape& shape() const { return shape_; }
  const OnChipModel& on_chip() const { return on_chip_; }
  bool resident() const { return resident_; }
  bool bf16_forward() const { return bf16_forward_; }

 private:
  const Plan& plan_;
  const uint32_t device_;
  const bool wide_, resident_, bf16_forward_;
  std::string name_;
  kernels::cuda::DeviceShape shape_ = {};
  std::vector<kernels::Op> ops_;
  Weights weights_;
  OnChipModel on_chip_;
};

}  // namespace xst::cuda
