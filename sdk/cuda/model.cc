#include "sdk/cuda/model.h"

#include <new>

#include "sdk/cuda/streams.h"

namespace xst::cuda {

CudaModel::~CudaModel() {
  const OnDevice on(device_);
  on_chip_ = OnChipModel();
  weights_ = Weights();
}

Status CudaModel::Open(Fault* fault) {
  const OnDevice on(device_);
  cudaDeviceProp properties;
  Status s = Check(on.error(), device_, "the device", fault);
  if (s == Status::ok) {
    s = Check(cudaGetDeviceProperties(&properties, static_cast<int>(device_)), device_,
              "the device's properties", fault);
  }
  if (s == Status::ok) {
    s = Check(kernels::cuda::GetDeviceShape(static_cast<int>(device_), &shape_), device_,
              "the device's shape", fault);
  }
  if (s != Status::ok) return s;
  name_ = "sm_" + std::to_string(properties.major * 10 + properties.minor);
  ops_ = plan_.ops;
  s = Check(weights_.Upload(&ops_), device_, "memory for the weights", fault);
  if (s != Status::ok) return s;
  const auto stack = kernels::cuda::RecogniseStack(ops_, plan_.ops_input, plan_.input_width,
                                                   plan_.output, plan_.output_width);
  if (!stack) return Status::ok;
  return Check(on_chip_.Open(*stack, wide_, device_), device_, "the weights on the chip", fault);
}

Status CudaModel::MakeStreams(uint32_t lanes, std::unique_ptr<DeviceStreams>* out,
                              Fault* fault) const noexcept {
  try {
    return wide_ ? MakeCudaStreams<double>(*this, lanes, out, fault)
                 : MakeCudaStreams<float>(*this, lanes, out, fault);
  } catch (const std::bad_alloc&) {
    return fault->Set(Status::out_of_memory, "cuda:%u: expected memory for %u streams, got none",
                      device_, lanes);
  }
}

}  // namespace xst::cuda
