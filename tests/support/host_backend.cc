// A device backend whose device is this CPU: it stands in for libxst_cuda.so.0, so that the sdk's
// side of a device is tested where there is none.
#include <algorithm>
#include <new>
#include <vector>

#include "kernels/kernels.h"
#include "sdk/device_backend.h"

namespace xst {
namespace {

template <class T>
class HostStreams : public DeviceStreams {
 public:
  HostStreams(const Plan& plan, uint32_t lanes)
      : plan_(plan),
        kernels_(*kernels::FindCpuKernels<T>(kernels::CpuKernelNames()[0])),
        lanes_(lanes),
        frames_(size_t{plan.frame_size} * lanes),
        input_(size_t{plan.input_width} * lanes),
        output_(size_t{plan.output_width} * lanes),
        state_(plan.ops_state_size + 1),
        active_(lanes, 1) {}

  uint32_t lanes() const override { return lanes_; }
  void* input() override { return input_.data(); }
  const void* output() override { return output_.data(); }
  uint8_t* active() override { return active_.data(); }

  uint32_t group_lanes() const override { return std::min(lanes_, 3u); }
  Status Start(uint32_t group) noexcept override {
    const uint32_t first = group * group_lanes();
    for (uint32_t lane = first; lane < std::min(first + group_lanes(), lanes_); ++lane) {
      if (!active_[lane]) continue;
      Step(lane, input_.data() + size_t{lane} * plan_.input_width,
           output_.data() + size_t{lane} * plan_.output_width);
    }
    return Status::ok;
  }
  Status Finish(uint32_t) noexcept override { return Status::ok; }

  // Pieces of a few steps, so that every longer input has several.
  Status PrepareSteps(uint32_t steps, bool last_only, uint32_t* at_once) noexcept override {
    *at_once = std::min(steps, 5u);
    last_only_ = last_only;
    for (uint32_t piece = 0; piece < kPieces; ++piece) {
      steps_input_[piece].assign(size_t{*at_once} * lanes_ * plan_.input_width, T(0));
      steps_output_[piece].assign(size_t{last_only ? 1 : *at_once} * lanes_ * plan_.output_width,
                                  T(0));
    }
    return Status::ok;
  }
  void* steps_input(uint32_t piece) override { return steps_input_[piece].data(); }
  const void* steps_output(uint32_t piece) override { return steps_output_[piece].data(); }
  Status StartSteps(uint32_t piece, uint32_t count) noexcept override {
    for (size_t i = 0; i < size_t{lanes_} * count; ++i) {
      const auto lane = static_cast<uint32_t>(i / count);
      if (!active_[lane]) continue;
      Step(lane, steps_input_[piece].data() + i * plan_.input_width,
           steps_output_[piece].data() + (last_only_ ? lane : i) * plan_.output_width);
    }
    return Status::ok;
  }
  Status FinishSteps(uint32_t) noexcept override { return Status::ok; }

  void* state_buffer() noexcept override { return state_.data(); }
  Status ReadState(uint32_t lane) noexcept override {
    std::copy_n(frame(lane), plan_.ops_state_size, state_.data());
    return Status::ok;
  }
  Status WriteState(uint32_t lane) noexcept override {
    std::copy_n(state_.data(), plan_.ops_state_size, frame(lane));
    return Status::ok;
  }
  Status ResetState(uint32_t lane) noexcept override {
    std::fill_n(frame(lane), plan_.ops_state_size, T(0));
    return Status::ok;
  }

 private:
  T* frame(uint32_t lane) { return frames_.data() + size_t{lane} * plan_.frame_size; }
  void Step(uint32_t lane, const T* in, T* out) {
    T* f = frame(lane);
    std::copy_n(in, plan_.input_width, f + plan_.ops_input);
    for (const kernels::Op& op : plan_.ops) kernels::Run(kernels_, op, f, {0, Units(op)});
    std::copy_n(f + plan_.output, plan_.output_width, out);
    for (uint32_t i = 0; i < plan_.ops_state_size; ++i) {
      f[i] = static_cast<T>(static_cast<float>(f[i]));
    }
  }

  const Plan& plan_;
  const kernels::Kernels<T>& kernels_;
  const uint32_t lanes_;
  std::vector<T> frames_, input_, output_, state_;
  std::vector<T> steps_input_[kPieces], steps_output_[kPieces];
  std::vector<uint8_t> active_;
  bool last_only_ = false;
};

constexpr uint64_t kMostValues = uint64_t{1} << 30;  // of all frames

class HostModel : public DeviceModel {
 public:
  explicit HostModel(const DeviceRequest& request) : request_(request) {}
  const char* name() const override { return "host"; }
  Status MakeStreams(uint32_t lanes, std::unique_ptr<DeviceStreams>* out,
                     Fault* fault) const noexcept override {
    try {
      // A sanitizer's allocator ends the process rather than refuse.
      if (uint64_t{request_.plan->frame_size} * lanes > kMostValues) throw std::bad_alloc();
      if (request_.wide) {
        *out = std::make_unique<HostStreams<double>>(*request_.plan, lanes);
      } else {
        *out = std::make_unique<HostStreams<float>>(*request_.plan, lanes);
      }
      return Status::ok;
    } catch (const std::bad_alloc&) {
      return fault->Set(Status::out_of_memory, "cuda:0: expected memory for its streams, got none");
    }
  }

 private:
  const DeviceRequest request_;
};

}  // namespace
}  // namespace xst

extern "C" __attribute__((visibility("default"))) xst::Status xst_open_device(
    uint32_t, const xst::DeviceRequest& request, std::unique_ptr<xst::DeviceModel>* out,
    xst::Fault* fault) {
  if (request.index > 0) {
    return fault->Set(
        xst::Status::no_device,
        "device: expected one this machine has (cpu, reference, cuda:0), got 'cuda:%u'",
        request.index);
  }
  *out = std::make_unique<xst::HostModel>(request);
  return xst::Status::ok;
}
