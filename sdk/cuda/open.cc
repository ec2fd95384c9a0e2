// The backend's one symbol.
#include <new>
#include <string>

#include "sdk/cuda/model.h"

namespace {

// Why there is no CUDA device at all, in brackets.
std::string WhyNone(cudaError_t error) {
  if (error == cudaSuccess) return "";
  int driver = 0;
  cudaDriverGetVersion(&driver);
  const auto version = [](int v) {
    return std::to_string(v / 1000) + "." + std::to_string(v % 1000 / 10);
  };
  if (error != cudaErrorInsufficientDriver) {
    return std::string(" (") + cudaGetErrorString(error) + ")";
  }
  if (driver == 0) return " (no NVIDIA driver)";
  return " (its NVIDIA driver knows CUDA " + version(driver) + ", this build needs " +
         version(CUDART_VERSION) + ")";
}

}  // namespace

extern "C" __attribute__((visibility("default"))) xst::Status xst_open_device(
    uint32_t version, const xst::DeviceRequest& request, std::unique_ptr<xst::DeviceModel>* out,
    xst::Fault* fault) {
  using xst::Status;
  if (version != xst::kBackendVersion) {
    return fault->Set(Status::no_device,
                      "device: expected one this build has (cpu, reference), got 'cuda:%u' (a CUDA "
                      "backend of version %u in place of %u)",
                      request.index, xst::kBackendVersion, version);
  }
  int count = 0;
  const cudaError_t error = cudaGetDeviceCount(&count);
  if (error != cudaSuccess) count = 0;
  if (request.index >= static_cast<uint32_t>(count)) {
    std::string have;
    for (int i = 0; i < count; ++i) have += ", cuda:" + std::to_string(i);
    return fault->Set(Status::no_device,
                      "device: expected one this machine has (cpu, reference%s), got 'cuda:%u'%s",
                      have.c_str(), request.index, WhyNone(error).c_str());
  }
  try {
    auto model = std::make_unique<xst::cuda::CudaModel>(request);
    if (const Status s = model->Open(fault); s != Status::ok) return s;
    *out = std::move(model);
    return Status::ok;
  } catch (const std::bad_alloc&) {
    return fault->Set(Status::out_of_memory, "cuda:%u: expected memory for the model, got none",
                      request.index);
  }
}
