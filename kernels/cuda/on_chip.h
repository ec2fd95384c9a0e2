// One stream of a block stack with all its weights and state resident on the chip: a few CTAs, each
// with a slice of everything in its shared memory, step it together, one exchange of numbers after
// the other (on_chip_shape.h, exchange.cuh).
#pragma once

#include <cuda_runtime_api.h>

#include <optional>
#include <string>
#include <vector>

#include "kernels/cuda/frames.h"
#include "kernels/cuda/on_chip_mailbox.h"
#include "kernels/cuda/on_chip_shape.h"
#include "kernels/cuda/stack.h"

namespace xst::kernels::cuda {

// How the CTAs exchange: as a cluster (sm_90 and later), through global memory (a cooperative
// launch), or not at all.
enum class OnChipBody : uint8_t { cluster, grid, single };

// What a device offers; QueryOnChipDevice fills it in.
struct OnChipDevice {
  uint32_t shared_bytes = 0;  // of one CTA, at most
  uint32_t multiprocessors = 0;
  bool clusters = false, cooperative = false;
};

// Where a block's state lies in the frame.
struct OnChipSlots {
  Slot c, n, m, y, history;
};

struct OnChipPlan {
  OnChipShape shape;
  OnChipBody body = OnChipBody::single;
  DType weights = DType::f32;  // of the image's matrices
  bool wide = false;           // arithmetic in double
  bool general = false;        // never a kernel of a fixed shape; for tests
  size_t image_bytes = 0;      // of all CTAs together: device memory, 256-byte aligned
  size_t exchange_bytes = 0;   // device memory for body grid, else 0
  Stack stack;                 // its weights are read by PackOnChip, an embedding's by every step
  std::vector<OnChipSlots> slots;
  uint32_t stride_c = 0, stride_n = 0, stride_history = 0, s_stride_history = 0;
};

// What the caller may insist on; for tests, mostly.
struct OnChipWish {
  std::optional<OnChipBody> body;
  uint32_t ctas = 0;  // 0: any number
};

// The plan that should be fastest among those that fit, in this order: a cluster of 16, 8, 4 or 2
// CTAs, one CTA, a grid of 2 to 64; those that give a CTA fewer than 8 rows of x come last. Nothing
// if none fits, and then in `why` what is in the way: what follows is the caller's choice (16-bit
// weights, or the generic path).
std::optional<OnChipPlan> PlanOnChip(const Stack& stack, bool wide, const OnChipDevice& device,
                                     const OnChipWish& wish, std::string* why);

cudaError_t QueryOnChipDevice(int device, OnChipDevice* out);

// Builds the image from the device copy of the weights, once per model.
cudaError_t PackOnChip(const OnChipPlan& plan, uint8_t* image, cudaStream_t stream);

// Allows the plan's kernels their shared memory, and checks that the device can hold all CTAs at
// once; cudaErrorLaunchOutOfResources if it cannot (then plan again with fewer). Once per plan
// and current device, before any launch.
cudaError_t PrepareOnChip(const OnChipPlan& plan);

// What a launch works on. `exchange`: plan.exchange_bytes, of this launch alone.
template <class T>
struct OnChipStream {
  const uint8_t* image;
  uint8_t* exchange;
  T* frame;
};

// `steps` steps in one launch: in [steps][input_width] (token ids as numbers), out
// [steps][output_width]; state from the frame and back. T float, or double for a wide plan.
// `failed`, if not null, gets 0 (device memory), or 1 if the CTAs lost each other (an exchange took
// over a second): then the outputs from there on are missing and the state in the frame is lost.
template <class T>
cudaError_t LaunchSteps(const OnChipPlan& plan, const OnChipStream<T>& s, const T* in, T* out,
                        uint32_t steps, uint32_t* failed, cudaStream_t stream);

struct OnChipTimes {
  uint64_t idle = 2'000'000;        // ns without a request after which the kernel leaves
  uint64_t lifetime = 200'000'000;  // ns after which it leaves anyway
  uint64_t spin = 200'000;          // ns of polling at full speed before it naps between polls
};

// Steps requests from `mailbox` (its device address) until stopped, idle or old; then the state is
// in the frame again and `exited` is `launch` (any number that differs from the launch before).
// `last_handled`: the last step that the frame's state has seen.
template <class T>
cudaError_t LaunchPersistent(const OnChipPlan& plan, const OnChipStream<T>& s, Mailbox* mailbox,
                             uint32_t launch, uint32_t last_handled, const OnChipTimes& times,
                             cudaStream_t stream);

// --- Between the files of this kernel ---

struct ExchangeArgs {
  uint8_t* mirror;   // grid: [ctas][mirror_stride] in global memory
  uint32_t* epochs;  // grid: [ctas], zero at launch
  uint32_t mirror_stride;
  uint64_t timeout;  // ns
};

template <class Real>
struct OnChipArgs {
  OnChipShape shape;
  OnChipSlots slots[kOnChipMaxBlocks];
  uint32_t stride_c, stride_n, stride_history, s_stride_history;
  const uint8_t* image;
  Real* frame;
  Matrix embedding;
  uint32_t embedding_stride;
  const Real* in;
  Real* out;
  uint32_t steps;
  uint32_t* failed;
  ExchangeArgs exchange;
  Mailbox* mailbox;
  uint32_t launch, last_handled;
  OnChipTimes times;
};

}  // namespace xst::kernels::cuda
