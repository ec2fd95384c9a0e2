#include "sdk/cuda/on_chip.h"

#include <algorithm>
#include <chrono>

namespace xst::cuda {
namespace {

using Clock = std::chrono::steady_clock;

// Longer than any kernel that stays lives: others may have to leave the device first.
constexpr std::chrono::seconds kPatience{5};
constexpr uint32_t kPolls = 4096;  // between looks at the clock

}  // namespace

cudaError_t OnChipModel::Open(const kernels::cuda::Stack& stack, bool wide, uint32_t device) {
  kernels::cuda::OnChipDevice properties;
  cudaError_t e = kernels::cuda::QueryOnChipDevice(static_cast<int>(device), &properties);
  if (e != cudaSuccess) return e;
  // A device shared with others may hold fewer blocks at once than it has.
  for (uint32_t ctas = 0;;) {
    plan_ = kernels::cuda::PlanOnChip(stack, wide, properties, {.body = {}, .ctas = ctas}, &why_);
    if (!plan_) return cudaSuccess;
    e = kernels::cuda::PrepareOnChip(*plan_);
    if (e != cudaErrorLaunchOutOfResources) break;
    cudaGetLastError();
    ctas = plan_->shape.ctas / 2;
    plan_.reset();
    why_ = "the device does not hold its blocks at once";
    if (ctas == 0) return cudaSuccess;
  }
  if (e == cudaSuccess) e = image_.Allocate(plan_->image_bytes);
  if (e == cudaSuccess) e = kernels::cuda::PackOnChip(*plan_, image_.data(), nullptr);
  return e == cudaSuccess ? cudaStreamSynchronize(nullptr) : e;
}

template <class T>
cudaError_t OnChipStepper<T>::Allocate(uint32_t input_width, uint32_t output_width) {
  const size_t bytes = kernels::cuda::MailboxBytes<T>(input_width, output_width);
  cudaError_t e = exchange_.Allocate(std::max<size_t>(model_.plan().exchange_bytes, 1));
  if (e == cudaSuccess) e = failed_.Allocate(1);
  if (e == cudaSuccess) e = mailbox_.Allocate(bytes);
  if (e != cudaSuccess) return e;
  *failed_.data() = 0;
  std::fill_n(mailbox_.data(), bytes, std::byte{0});
  host_ = {reinterpret_cast<kernels::cuda::Mailbox*>(mailbox_.data()), input_width, output_width};
  return cudaSuccess;
}

template <class T>
cudaError_t OnChipStepper<T>::Launch(const T* in, T* out) {
  return kernels::cuda::LaunchSteps(model_.plan(), stream(), in, out, 1, failed_.data(), stream_);
}

// Launches behind whatever the stream still does.
template <class T>
cudaError_t OnChipStepper<T>::Stay() {
  const uint32_t handled = launch_ == 0 ? 0 : host_.handled();
  staying_ = true;
  return kernels::cuda::LaunchPersistent(model_.plan(), stream(),
                                         reinterpret_cast<kernels::cuda::Mailbox*>(mailbox_.data()),
                                         ++launch_, handled, {}, stream_);
}

template <class T>
cudaError_t OnChipStepper<T>::StepResident(const T* in, T* out) {
  host_.Request(in);
  cudaError_t e = staying_ ? cudaSuccess : Stay();
  const auto deadline = Clock::now() + kPatience;
  for (uint32_t polls = 1; e == cudaSuccess; ++polls) {
    if (host_.TryReply(out)) return cudaSuccess;
    if (host_.error() != kernels::cuda::MailboxError::none) return cudaErrorLaunchTimeout;
    if (host_.HasLeft(launch_)) e = Stay();
    if (polls % kPolls != 0) continue;
    e = cudaStreamQuery(stream_);
    if (e == cudaErrorNotReady) e = cudaSuccess;
    if (Clock::now() > deadline) return cudaErrorLaunchTimeout;
  }
  return e;
}

template <class T>
cudaError_t OnChipStepper<T>::Rest() {
  if (!staying_) return cudaSuccess;
  host_.Stop(true);
  const cudaError_t e = cudaStreamSynchronize(stream_);
  host_.Stop(false);
  staying_ = false;
  return e;
}

template class OnChipStepper<float>;
template class OnChipStepper<double>;

}  // namespace xst::cuda
