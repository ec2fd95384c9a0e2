// The ops on a CUDA device, as tables of the op tests.
#pragma once

#include <cuda_runtime_api.h>

#include <string>

namespace xst::kernels {

struct DeviceTable;

namespace cuda {

// They upload a frame and everything an op points to, run the op and download the frame. On the way
// they prove that the bits of a lane do not depend on the lanes beside it and that an inactive lane
// keeps its state.
extern const DeviceTable kSingleTable, kWideTable;

// Why the suite cannot run here; empty: it can. With XST_REQUIRE_CUDA set in the environment every
// test runs, and fails where no device is.
std::string WhyNoDevice();

// Throws what went wrong with `what`.
void Check(cudaError_t error, const char* what);

}  // namespace cuda
}  // namespace xst::kernels
