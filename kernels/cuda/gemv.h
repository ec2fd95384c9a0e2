// Matrix times the vectors of a few streams, at the speed of the memory that holds the matrix, with
// what comes before and after in a Large block fused in.
#pragma once

#include <cuda_runtime.h>

#include <optional>

#include "kernels/cuda/frames.h"

namespace xst::kernels::cuda {

// y = W x' + bias, with x' = x, or `norm` of its x, or `mlstm_out` of its h; then the epilogue.
struct Gemv {
  Linear linear = {};                 // its x is not read if norm or mlstm_out is given
  std::optional<Linear> second;       // more rows over the same x', of the same weight type
  std::optional<Norm> norm;           // its y is not written
  std::optional<MlstmOut> mlstm_out;  // its y is not written; without skip
  std::optional<MlstmCell> cell;  // the state n and m of LaunchMlstmDecode are brought up to date
  std::optional<GatedAct> act;    // rows r and r + act.size become act.y[r]; y is not written
  float soft_cap = 0;             // y = cap tanh(y / cap), if positive
};

// What a launcher needs to know of a device, found once.
struct DeviceShape {
  int multiprocessors;
  int major;         // of the compute capability that the loaded code was built for
  bool early_start;  // may kernels start before their predecessor has finished
};
// `device` is the current one.
cudaError_t GetDeviceShape(int device, DeviceShape* shape);

// Whether LaunchGemv can do it: up to 12,288 columns, at most 80 heads.
bool Fits(const Gemv& g);

// All lanes; reads the weights once for up to 4 lanes (8 in matrices of up to 4,096 columns). A row
// is summed in an order that depends on the columns and the weight type alone. `dependent`: see
// dependent_launch.cuh.
cudaError_t LaunchGemv(const Gemv& g, const Frames<float>& frames, const DeviceShape& device,
                       bool dependent, cudaStream_t stream);

}  // namespace xst::kernels::cuda
