// Streams of a model on a CUDA device: their frames, and the graphs that step them.
#pragma once

#include <cuda_runtime_api.h>

#include <algorithm>
#include <optional>
#include <vector>

#include "kernels/cuda/frames.h"
#include "kernels/cuda/large_prefill.h"
#include "sdk/cuda/memory.h"
#include "sdk/cuda/model.h"
#include "sdk/cuda/on_chip.h"
#include "sdk/cuda/program.h"

namespace xst::cuda {

template <class T>
class CudaStreams : public DeviceStreams {
 public:
  CudaStreams(const CudaModel& model, uint32_t lanes)
      : model_(model),
        plan_(model.plan()),
        lanes_(lanes),
        program_(plan_, model.ops(), model.shape()) {}
  ~CudaStreams() override;

  Status Open(Fault* fault);

  uint32_t lanes() const override { return lanes_; }
  void* input() override { return input_.data(); }
  const void* output() override { return output_.data(); }
  uint8_t* active() override { return active_.data(); }
  uint32_t group_lanes() const override {
    return lanes_ < kGroups * kLeastGroup ? lanes_ : (lanes_ + kGroups - 1) / kGroups;
  }
  Status Start(uint32_t group) noexcept override;
  Status Finish(uint32_t group) noexcept override;
  Status PrepareSteps(uint32_t steps, bool last_only, uint32_t* at_once) noexcept override;
  void* steps_input(uint32_t piece) override { return steps_[piece].input.data(); }
  const void* steps_output(uint32_t piece) override { return steps_[piece].output.data(); }
  Status StartSteps(uint32_t piece, uint32_t count) noexcept override;
  Status FinishSteps(uint32_t piece) noexcept override;
  void* state_buffer() noexcept override;
  Status ReadState(uint32_t lane) noexcept override;
  Status WriteState(uint32_t lane) noexcept override;
  Status ResetState(uint32_t lane) noexcept override;

 private:
  // Many lanes are groups with a stream each. While two of them move their state, the third's
  // products need no memory: measured, two and four are slower. And the host prepares and gives
  // out one group while others run.
  static constexpr uint32_t kGroups = 3, kLeastGroup = 512;
  struct Group {
    uint32_t first, lanes;
    cudaStream_t stream = nullptr;
    std::vector<cudaGraphExec_t> graphs;  // of its first 1, 2, 4, ... and all lanes
  };

  cudaError_t Allocate();
  cudaError_t Clear();  // all frames
  cudaError_t AllocateSteps(uint32_t steps, uint32_t rows);
  cudaError_t EnqueueStep(const Group& group, uint32_t lanes);  // on the group's stream
  cudaError_t Capture(const Group& group, uint32_t lanes, cudaGraphExec_t* graph);
  cudaError_t MakeGroup(uint32_t first);
  cudaError_t MakePrompt(uint32_t steps, bool all_logits);
  cudaError_t EnqueuePrompt(uint32_t piece, uint32_t count);
  cudaError_t EnqueueSteps(uint32_t piece, uint32_t count);
  size_t TokenStride() const;  // elements of a token's frame, which has no state
  Status CopyState(uint32_t lane, cudaMemcpyKind kind) noexcept;
  uint32_t ActiveLanes(const Group& group) const;  // the last active one and all before it
  kernels::cuda::Frames<T> frames(uint32_t first, uint32_t lanes) const;
  T* state(uint32_t lane) const { return frames_.data() + lane * stride_; }
  Status Remember(cudaError_t error);  // whatever went wrong, the state is lost: for ever
  cudaError_t Rest() { return on_chip_ ? on_chip_->Rest() : cudaSuccess; }

  const CudaModel& model_;
  const Plan& plan_;
  const uint32_t lanes_;
  const Program<T> program_;
  size_t stride_ = 0;
  bool failed_ = false;
  cudaStream_t stream_ = nullptr;
  std::optional<OnChipStepper<T>> on_chip_;  // of a single stream that fits
  DeviceBuffer<T> frames_;
  DeviceBuffer<uint8_t> active_here_;
  PinnedBuffer<T> input_, output_, state_;
  PinnedBuffer<uint8_t> active_;
  std::vector<Group> groups_;
  // Of several steps at once.
  struct Piece {
    PinnedBuffer<T> input, output;
    cudaEvent_t done = nullptr;
  };
  uint32_t steps_at_once_ = 0, output_rows_ = 0;  // rows: of a lane in a piece's output
  bool last_only_ = false;
  Piece steps_[kPieces];
  DeviceBuffer<T> tokens_;
  DeviceBuffer<std::byte> workspace_;
  std::unique_ptr<kernels::cuda::LargePrefill> prompt_;  // then the way of one Large stream
  bool tuned_ = false;
};

template <class T>
Status MakeCudaStreams(const CudaModel& model, uint32_t lanes, std::unique_ptr<DeviceStreams>* out,
                       Fault* fault);

}  // namespace xst::cuda
