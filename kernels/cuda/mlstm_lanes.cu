#include "kernels/cuda/mlstm_lanes.h"

#include <algorithm>
#include <cmath>
#include <type_traits>

#include "kernels/cuda/linear_tokens.h"
#include "kernels/cuda/mlstm_lanes.cuh"
#include "kernels/cuda/mlstm_lanes_cluster.cuh"

namespace xst::kernels::cuda {
namespace {

constexpr uint32_t kMostThreads = 256;
constexpr size_t kMostShared = 96 * 1024;      // bytes a block of the core kernel
constexpr size_t kMostStaged = 64 * 1024;      // bytes of weights kept in shared memory
constexpr size_t kStreamingBytes = 36u << 20;  // frames larger than this do not stay in L2

uint32_t RoundUp4(uint32_t n) { return (n + 3) / 4 * 4; }

// The least power of two of float4 columns that spans `dim`.
uint32_t ColumnsOf(uint32_t dim) {
  uint32_t columns = 1;
  while (columns * 4 < dim) columns *= 2;
  return columns;
}

bool Staged(const MlstmBlock& b) {
  return size_t{4} * (b.gates.w.rows * b.gates.w.cols + 3 * b.q.w.rows * RoundUp4(b.q.w.cols)) <=
         kMostStaged;
}

uint32_t ThreadsOf(const MlstmBlock& b) {
  const uint32_t each = MlstmHeadThreads(static_cast<int>(ColumnsOf(b.cell.dk)));
  return std::min(b.cell.heads, kMostThreads / each) * each;
}

size_t SharedBytes(const MlstmBlock& b) {
  return size_t{4} * MlstmCoreShared(b.cell.heads, b.q.w.rows, b.q.w.cols, ThreadsOf(b),
                                     ColumnsOf(b.cell.dk) * 4, Staged(b))
                         .size;
}

MlstmCore CoreOf(const MlstmBlock& b, const Frames<float>& frames) {
  MlstmCore p = {};
  p.heads = b.cell.heads;
  p.dim = b.cell.dk;
  p.channels = b.q.w.rows;
  if (b.conv) {
    p.kernel = b.conv->kernel;
    p.conv_weight = b.conv->weight;
    p.conv_bias = b.conv->bias;
    p.conv_stride = b.conv->stride;
    p.history = b.conv->history;
  }
  p.q = AnyMatrixOf(b.q.w, b.q.bias);
  p.k = AnyMatrixOf(b.k.w, b.k.bias);
  p.v = AnyMatrixOf(b.v.w, b.v.bias);
  p.block = b.q.w.cols;
  p.gates = AnyMatrixOf(b.gates.w, b.gates.bias);
  p.cell_eps = b.cell.eps;
  p.gate_cap = b.cell.gate_cap;
  const float scale = 1 / std::sqrt(static_cast<float>(b.cell.dk));
  p.key_scale = b.cell.scale_key ? scale : 1;
  p.query_scale = b.cell.scale_key ? 1 : scale;
  p.stride_c = b.cell.stride_c;
  p.stride_n = b.cell.stride_n;
  p.out_weight = b.out.weight;
  p.out_bias = b.out.bias;
  p.skip = b.out.skip;
  p.out_offset = b.out.weight_offset;
  p.out_eps = b.out.eps;
  p.out_sigmoid = b.out.sigmoid;
  p.a = b.v.x;
  p.z = b.out.z;
  p.y = b.out.y;
  p.c = b.cell.c;
  p.n = b.cell.n;
  p.m = b.cell.m;
  p.streaming = frames.stride * 4 * frames.lanes > kStreamingBytes;
  return p;
}

// Beyond, a cluster's reads of the weights cost more than the kernels it saves.
constexpr uint32_t kMostClusterLanes = 96;

uint32_t ClusterLanes(uint32_t lanes) { return lanes <= 32 ? 1 : 2; }

size_t ClusterBytes(const MlstmBlock& b, uint32_t lanes) {
  return size_t{4} * MlstmClusterShared(lanes, b.cell.heads, b.q.w.cols).size;
}

// Of a block that BlockFits.
bool ClusterFits(const MlstmBlock& b, const Frames<float>& frames) {
  const uint32_t heads = b.cell.heads, block = b.q.w.cols, width = b.norm.size;
  return frames.lanes <= kMostClusterLanes && b.cell.dk == kClusterHeadDim &&
         b.cell.stride_c == kClusterHeadDim && heads >= 2 && heads <= kMostClusterHeads &&
         width % 4 == 0 && width <= kClusterWidth && b.up.w.rows == 2 * b.q.w.rows &&
         b.v.x == b.up.y && b.out.z == b.up.y + b.q.w.rows && b.down.x == b.out.y &&
         b.down.y == b.norm.x && b.down.accumulate && b.down.w.rows == width &&
         b.down.w.cols == b.q.w.rows && b.down.w.dtype == b.up.w.dtype && block % 4 == 0 &&
         block <= 32 && 32 % block == 0 &&
         reinterpret_cast<uintptr_t>(frames.data + b.norm.x) % 16 == 0 &&
         reinterpret_cast<uintptr_t>(frames.data + b.cell.c) % 16 == 0 &&
         ClusterBytes(b, ClusterLanes(frames.lanes)) <= kMostShared;
}

// cudaErrorNotSupported: this device has no clusters, or this build no code for them.
template <class W, int kLanes>
cudaError_t LaunchCluster(const MlstmWhole& w, size_t bytes, const Frames<float>& frames,
                          cudaStream_t stream) {
  const uint32_t heads = w.core.heads;
  const auto kernel = MlstmClusterKernel<W, kLanes>;
  int device = 0, clusters = 0;
  cudaError_t error = cudaGetDevice(&device);
  if (error != cudaSuccess) return error;
  error = cudaDeviceGetAttribute(&clusters, cudaDevAttrClusterLaunch, device);
  if (error != cudaSuccess) return error;
  cudaFuncAttributes code;
  if (error = cudaFuncGetAttributes(&code, kernel); error != cudaSuccess) return error;
  // Code built for an older architecture is empty, whatever the device.
  if (clusters == 0 || code.ptxVersion < 90 || code.binaryVersion < 90) {
    return cudaErrorNotSupported;
  }
  if (error = AllowShared(kernel, bytes); error != cudaSuccess) return error;
  cudaLaunchAttribute attributes[2] = {};
  attributes[0].id = cudaLaunchAttributeProgrammaticStreamSerialization;
  attributes[0].val.programmaticStreamSerializationAllowed = 1;
  attributes[1].id = cudaLaunchAttributeClusterDimension;
  attributes[1].val.clusterDim = {heads, 1, 1};
  cudaLaunchConfig_t config = {};
  config.gridDim = dim3((frames.lanes + kLanes - 1) / kLanes * heads);
  config.blockDim = dim3(kClusterThreads);
  config.dynamicSmemBytes = bytes;
  config.stream = stream;
  config.attrs = attributes;
  config.numAttrs = 2;
  return cudaLaunchKernelEx(&config, kernel, w, frames);
}

cudaError_t LaunchCluster(const MlstmBlock& b, const Frames<float>& frames, cudaStream_t stream) {
  MlstmWhole w = {};
  w.core = CoreOf(b, frames);
  w.up = AnyMatrixOf(b.up.w, b.up.bias);
  w.down = AnyMatrixOf(b.down.w, b.down.bias);
  w.norm_weight = b.norm.weight;
  w.norm_bias = b.norm.bias;
  w.norm_offset = b.norm.weight_offset;
  w.norm_eps = b.norm.eps;
  w.norm_center = b.norm.center;
  w.width = b.norm.size;
  w.slice = (w.width + w.core.heads - 1) / w.core.heads;
  w.x = b.norm.x;
  const uint32_t lanes = ClusterLanes(frames.lanes);
  const size_t bytes = ClusterBytes(b, lanes);
  cudaError_t error = cudaErrorInvalidValue;
  WithWeights(w.up.dtype, [&](auto type) {
    using W = decltype(type);
    error = lanes == 1 ? LaunchCluster<W, 1>(w, bytes, frames, stream)
                       : LaunchCluster<W, 2>(w, bytes, frames, stream);
  });
  return error;
}

}  // namespace

bool BlockFits(const MlstmBlock& b, const Frames<float>& frames) {
  const MlstmCell& cell = b.cell;
  const uint32_t channels = b.q.w.rows;
  const auto aligned = [&](Slot slot) {
    return reinterpret_cast<uintptr_t>(frames.data + slot) % 16 == 0;
  };
  return LinearTokensFits(&b.norm, b.up, nullptr) && LinearTokensFits(nullptr, b.down, nullptr) &&
         b.gates.w.layout == Layout::rows && b.q.w.layout == Layout::rows && cell.dk == cell.dv &&
         cell.dk % 4 == 0 && cell.dk <= 128 && channels == cell.heads * cell.dk &&
         b.k.w.rows == channels && b.v.w.rows == channels && b.k.w.cols == b.q.w.cols &&
         b.v.w.cols == b.q.w.cols && b.gates.w.cols == 3 * channels &&
         b.gates.w.rows == 2 * cell.heads && !b.gates.accumulate &&
         (!b.conv || b.conv->kernel <= kMostTaps) && cell.stride_c % 4 == 0 && aligned(cell.c) &&
         frames.stride % 4 == 0 && SharedBytes(b) <= kMostShared;
}

cudaError_t LaunchMlstmCore(const MlstmBlock& b, const Frames<float>& frames, cudaStream_t stream) {
  if (frames.lanes == 0) return cudaSuccess;
  const MlstmCore p = CoreOf(b, frames);
  int device = 0, multiprocessors = 0;
  cudaError_t error = cudaGetDevice(&device);
  if (error == cudaSuccess) {
    error = cudaDeviceGetAttribute(&multiprocessors, cudaDevAttrMultiProcessorCount, device);
  }
  if (error != cudaSuccess) return error;
  // As many blocks as are resident at once, with equal numbers of lanes.
  const uint32_t most = static_cast<uint32_t>(multiprocessors) * 2;
  const uint32_t rounds = (frames.lanes + most - 1) / most;
  const uint32_t blocks = (frames.lanes + rounds - 1) / rounds;
  const auto launch = [&](auto columns) {
    constexpr int kColumns = decltype(columns)::value;
    // With fewer columns there are more threads than values.
    const bool full = kColumns >= 4 && p.dim == 4 * kColumns && p.stride_c == p.dim;
    const auto kernel = !Staged(b) ? MlstmCoreKernel<kColumns, false, false>
                        : full     ? MlstmCoreKernel<kColumns, true, (kColumns >= 4)>
                                   : MlstmCoreKernel<kColumns, true, false>;
    return LaunchChained(kernel, dim3(blocks), ThreadsOf(b), SharedBytes(b), stream, p, frames);
  };
  switch (ColumnsOf(p.dim)) {
    case 1:
      return launch(std::integral_constant<int, 1>());
    case 2:
      return launch(std::integral_constant<int, 2>());
    case 4:
      return launch(std::integral_constant<int, 4>());
    case 8:
      return launch(std::integral_constant<int, 8>());
    case 16:
      return launch(std::integral_constant<int, 16>());
    default:
      return launch(std::integral_constant<int, 32>());
  }
}

cudaError_t LaunchBlock(const MlstmBlock& b, const Frames<float>& frames, cudaStream_t stream) {
  if (frames.lanes == 0) return cudaSuccess;
  if (ClusterFits(b, frames)) {
    const cudaError_t error = LaunchCluster(b, frames, stream);
    if (error != cudaErrorNotSupported) return error;
  }
  if (const cudaError_t error = LaunchLinearTokens(&b.norm, b.up, nullptr, frames, stream);
      error != cudaSuccess) {
    return error;
  }
  if (const cudaError_t error = LaunchMlstmCore(b, frames, stream); error != cudaSuccess) {
    return error;
  }
  return LaunchLinearTokens(nullptr, b.down, nullptr, frames, stream);
}

}  // namespace xst::kernels::cuda
