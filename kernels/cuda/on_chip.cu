// Launches of the on-chip kernel.
#include "kernels/cuda/on_chip.h"

#include <algorithm>

#include "kernels/cuda/on_chip_fixed.h"

namespace xst::kernels::cuda {
namespace {

constexpr uint64_t kExchangeTimeout = 1'000'000'000;  // ns

const void* KernelOf(const OnChipPlan& plan) {
  const bool fixed = MatchesFixed(plan);
  if (plan.wide) return OnChipKernelF64(plan.body, fixed);
  switch (plan.weights) {
    case DType::f32:
      return OnChipKernelF32(plan.body, fixed);
    case DType::bf16:
      return OnChipKernelBf16(plan.body, fixed);
    case DType::i16:
      return OnChipKernelI16(plan.body, fixed);
    case DType::i8:
      return OnChipKernelI8(plan.body, fixed);
  }
  return nullptr;
}

struct Launch {
  cudaLaunchConfig_t config{};
  cudaLaunchAttribute attribute{};

  Launch(const OnChipPlan& plan, cudaStream_t stream) {
    config.gridDim = dim3(plan.shape.ctas);
    config.blockDim = dim3(MatchesFixed(plan) ? kFixedThreads : kOnChipThreads);
    config.dynamicSmemBytes = plan.shape.bytes;
    config.stream = stream;
    if (plan.body == OnChipBody::cluster) {
      attribute.id = cudaLaunchAttributeClusterDimension;
      attribute.val.clusterDim.x = plan.shape.ctas;
      attribute.val.clusterDim.y = attribute.val.clusterDim.z = 1;
    } else if (plan.body == OnChipBody::grid) {
      attribute.id = cudaLaunchAttributeCooperative;
      attribute.val.cooperative = 1;
    }
    config.attrs = &attribute;
    config.numAttrs = plan.body == OnChipBody::single ? 0 : 1;
  }
};

template <class T>
OnChipArgs<T> ArgsOf(const OnChipPlan& plan, const OnChipStream<T>& s) {
  OnChipArgs<T> a{};
  a.shape = plan.shape;
  std::copy(plan.slots.begin(), plan.slots.end(), a.slots);
  a.stride_c = plan.stride_c;
  a.stride_n = plan.stride_n;
  a.stride_history = plan.stride_history;
  a.s_stride_history = plan.s_stride_history;
  a.image = s.image;
  a.frame = s.frame;
  if (plan.stack.embed) {
    a.embedding = plan.stack.embed->table;
    a.embedding_stride = static_cast<uint32_t>(RowStride(a.embedding.dtype, a.embedding.cols));
  }
  a.exchange = {s.exchange + 4 * kOnChipMaxCtas, reinterpret_cast<uint32_t*>(s.exchange),
                plan.shape.bytes, kExchangeTimeout};
  return a;
}

template <class T>
cudaError_t Run(const OnChipPlan& plan, const OnChipStream<T>& s, OnChipArgs<T>* args,
                cudaStream_t stream) {
  if (plan.wide != (sizeof(T) == 8)) return cudaErrorInvalidValue;
  if (plan.body == OnChipBody::grid) {
    const cudaError_t error = cudaMemsetAsync(s.exchange, 0, plan.exchange_bytes, stream);
    if (error != cudaSuccess) return error;
  }
  void* params[] = {args};
  const Launch launch(plan, stream);
  return cudaLaunchKernelExC(&launch.config, KernelOf(plan), params);
}

}  // namespace

cudaError_t QueryOnChipDevice(int device, OnChipDevice* out) {
  const auto get = [&](cudaDeviceAttr a, auto* to) {
    int v = 0;
    const cudaError_t error = cudaDeviceGetAttribute(&v, a, device);
    *to = static_cast<std::remove_pointer_t<decltype(to)>>(v);
    return error;
  };
  int major = 0;
  for (const cudaError_t error : {get(cudaDevAttrMaxSharedMemoryPerBlockOptin, &out->shared_bytes),
                                  get(cudaDevAttrMultiProcessorCount, &out->multiprocessors),
                                  get(cudaDevAttrCooperativeLaunch, &out->cooperative),
                                  get(cudaDevAttrClusterLaunch, &out->clusters),
                                  get(cudaDevAttrComputeCapabilityMajor, &major)}) {
    if (error != cudaSuccess) return error;
  }
  out->clusters = out->clusters && major >= 9;
  return cudaSuccess;
}

cudaError_t PrepareOnChip(const OnChipPlan& plan) {
  const void* kernel = KernelOf(plan);
  if (!kernel) return cudaErrorInvalidValue;
  int device = 0, most = 0;
  cudaError_t error = cudaGetDevice(&device);
  if (error != cudaSuccess) return error;
  error = cudaDeviceGetAttribute(&most, cudaDevAttrMaxSharedMemoryPerBlockOptin, device);
  if (error != cudaSuccess) return error;
  // The most there is, not what this plan needs: another plan may use the same kernel.
  error = cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, most);
  if (error != cudaSuccess) return error;
  int resident = 0;
  const Launch launch(plan, nullptr);
  if (plan.body == OnChipBody::cluster) {
    if (plan.shape.ctas > 8) {
      error = cudaFuncSetAttribute(kernel, cudaFuncAttributeNonPortableClusterSizeAllowed, 1);
      if (error != cudaSuccess) return error;
    }
    error = cudaOccupancyMaxActiveClusters(&resident, kernel, &launch.config);
  } else {
    error = cudaOccupancyMaxActiveBlocksPerMultiprocessor(&resident, kernel, kOnChipThreads,
                                                          plan.shape.bytes);
  }
  if (error != cudaSuccess) return error;
  return resident > 0 ? cudaSuccess : cudaErrorLaunchOutOfResources;
}

template <class T>
cudaError_t LaunchSteps(const OnChipPlan& plan, const OnChipStream<T>& s, const T* in, T* out,
                        uint32_t steps, uint32_t* failed, cudaStream_t stream) {
  OnChipArgs<T> args = ArgsOf(plan, s);
  args.in = in;
  args.out = out;
  args.steps = steps;
  args.failed = failed;
  return Run(plan, s, &args, stream);
}

template <class T>
cudaError_t LaunchPersistent(const OnChipPlan& plan, const OnChipStream<T>& s, Mailbox* mailbox,
                             uint32_t launch, uint32_t last_handled, const OnChipTimes& times,
                             cudaStream_t stream) {
  OnChipArgs<T> args = ArgsOf(plan, s);
  args.mailbox = mailbox;
  args.launch = launch;
  args.last_handled = last_handled;
  args.times = times;
  return Run(plan, s, &args, stream);
}

template cudaError_t LaunchSteps(const OnChipPlan&, const OnChipStream<float>&, const float*,
                                 float*, uint32_t, uint32_t*, cudaStream_t);
template cudaError_t LaunchSteps(const OnChipPlan&, const OnChipStream<double>&, const double*,
                                 double*, uint32_t, uint32_t*, cudaStream_t);
template cudaError_t LaunchPersistent(const OnChipPlan&, const OnChipStream<float>&, Mailbox*,
                                      uint32_t, uint32_t, const OnChipTimes&, cudaStream_t);
template cudaError_t LaunchPersistent(const OnChipPlan&, const OnChipStream<double>&, Mailbox*,
                                      uint32_t, uint32_t, const OnChipTimes&, cudaStream_t);

}  // namespace xst::kernels::cuda
