#include "sdk/cuda/streams.h"

#include <algorithm>
#include <bit>

#include "kernels/cuda/staging.h"

namespace xst::cuda {
namespace {

constexpr size_t kStrideStep = 32;  // elements: frames begin on whole 128-byte lines

// Of a piece of several steps: enough to fill the device, few enough for two to overlap.
constexpr size_t kTokens = 8192, kTokenBytes = size_t{1} << 30, kOutputBytes = size_t{1} << 28;
constexpr uint32_t kPromptTokens = 2048;  // of a Large prompt on the tensor cores

size_t WholeLines(size_t elements) {
  return (elements + kStrideStep - 1) / kStrideStep * kStrideStep;
}

}  // namespace

template <class T>
CudaStreams<T>::~CudaStreams() {
  const OnDevice on(model_.device());
  on_chip_.reset();
  for (const Group& group : groups_) {
    for (cudaGraphExec_t graph : group.graphs) cudaGraphExecDestroy(graph);
    if (group.stream && group.stream != stream_) cudaStreamDestroy(group.stream);
  }
  if (stream_) cudaStreamDestroy(stream_);
  frames_ = {};
  active_here_ = {};
  tokens_ = {};
  workspace_ = {};
  prompt_.reset();
  for (Piece& piece : steps_) {
    if (piece.done) cudaEventDestroy(piece.done);
    piece.input = {};
    piece.output = {};
  }
  input_ = {};
  output_ = {};
  state_ = {};
  active_ = {};
}

template <class T>
size_t CudaStreams<T>::TokenStride() const {
  return WholeLines(plan_.frame_size - plan_.state_size);
}

template <class T>
Status CudaStreams<T>::Remember(cudaError_t error) {
  if (error == cudaSuccess) return Status::ok;
  StatusOf(error);
  failed_ = true;
  return Status::device_failed;
}

template <class T>
kernels::cuda::Frames<T> CudaStreams<T>::frames(uint32_t first, uint32_t lanes) const {
  return {state(first), stride_, lanes, lanes_ == 1 ? nullptr : active_here_.data() + first};
}

template <class T>
cudaError_t CudaStreams<T>::Allocate() {
  stride_ = WholeLines(plan_.frame_size);
  const auto ok = [](cudaError_t e) { return e == cudaSuccess; };
  cudaError_t e = cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking);
  if (ok(e)) e = frames_.Allocate(stride_ * lanes_);
  if (ok(e)) e = Clear();
  if (ok(e)) e = active_here_.Allocate(lanes_);
  if (ok(e)) e = input_.Allocate(size_t{plan_.input_width} * lanes_);
  if (ok(e)) e = output_.Allocate(size_t{plan_.output_width} * lanes_);
  if (ok(e)) e = active_.Allocate(lanes_);
  if (!ok(e)) return e;
  if (lanes_ == 1 && model_.on_chip().fits()) {
    on_chip_.emplace(model_.on_chip(), frames_.data(), stream_);
    e = on_chip_->Allocate(plan_.input_width, plan_.output_width);
    if (!ok(e)) return e;
  }
  std::fill_n(input_.data(), input_.size(), T(0));
  std::fill_n(active_.data(), lanes_, uint8_t{1});
  return cudaSuccess;
}

// On its own stream: to wait for the whole device would break another thread's capture.
template <class T>
cudaError_t CudaStreams<T>::Clear() {
  const cudaError_t e = cudaMemsetAsync(frames_.data(), 0, stride_ * lanes_ * sizeof(T), stream_);
  return e == cudaSuccess ? cudaStreamSynchronize(stream_) : e;
}

template <class T>
cudaError_t CudaStreams<T>::EnqueueStep(const Group& group, uint32_t lanes) {
  const size_t first = group.first;
  const auto f = frames(group.first, lanes);
  cudaError_t e = kernels::cuda::Scatter(
      input_.data() + first * plan_.input_width, plan_.ops_input, plan_.input_width,
      active_.data() + first, lanes_ == 1 ? nullptr : active_here_.data() + first, f, group.stream);
  if (e == cudaSuccess) e = program_.Step(f, group.stream);
  if (e == cudaSuccess) {
    e = kernels::cuda::Gather(f, plan_.output, plan_.output_width,
                              output_.data() + first * plan_.output_width, group.stream);
  }
  return e;
}

template <class T>
cudaError_t CudaStreams<T>::Capture(const Group& group, uint32_t lanes, cudaGraphExec_t* exec) {
  cudaError_t error = cudaStreamBeginCapture(group.stream, cudaStreamCaptureModeThreadLocal);
  if (error != cudaSuccess) return error;
  error = on_chip_ ? on_chip_->Launch(input_.data(), output_.data()) : EnqueueStep(group, lanes);
  cudaGraph_t graph = nullptr;
  const cudaError_t end = cudaStreamEndCapture(group.stream, &graph);
  if (error == cudaSuccess) error = end;
  if (error == cudaSuccess) error = cudaGraphInstantiate(exec, graph, 0);
  if (graph) cudaGraphDestroy(graph);
  if (error == cudaSuccess) error = cudaGraphUpload(*exec, group.stream);
  return error;
}

template <class T>
cudaError_t CudaStreams<T>::MakeGroup(uint32_t first) {
  Group& group = groups_.emplace_back();
  group.first = first;
  group.lanes = std::min(group_lanes(), lanes_ - first);
  group.stream = stream_;
  cudaError_t error = cudaSuccess;
  if (first > 0) {
    group.stream = nullptr;
    error = cudaStreamCreateWithFlags(&group.stream, cudaStreamNonBlocking);
  }
  for (uint32_t lanes = 1; error == cudaSuccess; lanes = std::min(2 * lanes, group.lanes)) {
    cudaGraphExec_t graph = nullptr;
    error = Capture(group, lanes, &graph);
    if (graph) group.graphs.push_back(graph);
    if (lanes == group.lanes) break;
  }
  return error;
}

template <class T>
Status CudaStreams<T>::Open(Fault* fault) {
  const uint32_t device = model_.device();
  const OnDevice on(device);
  Status s = Check(on.error(), device, "the device", fault);
  if (s == Status::ok) s = Check(Allocate(), device, "memory for its streams", fault);
  for (uint32_t first = 0; first < lanes_ && s == Status::ok; first += group_lanes()) {
    s = Check(MakeGroup(first), device, "a graph of the step", fault);
  }
  // A first step loads every kernel; it leaves a fresh state behind.
  for (uint32_t group = 0; group < groups_.size() && s == Status::ok; ++group) {
    s = Start(group);
    if (s == Status::ok) s = Finish(group);
    if (s != Status::ok)
      fault->Set(s, "cuda:%u: expected a first step, got: %s", device, Describe(s));
  }
  if (s == Status::ok) s = Check(Rest(), device, "a first step's end", fault);
  return s == Status::ok ? Check(Clear(), device, "fresh streams", fault) : s;
}

template <class T>
uint32_t CudaStreams<T>::ActiveLanes(const Group& group) const {
  uint32_t lanes = group.lanes;
  while (lanes > 0 && !active_.data()[group.first + lanes - 1]) --lanes;
  return lanes;
}

template <class T>
Status CudaStreams<T>::Start(uint32_t index) noexcept {
  if (failed_) return Status::device_failed;
  const uint32_t lanes = ActiveLanes(groups_[index]);
  if (lanes == 0) return Status::ok;
  const OnDevice on(model_.device());
  cudaError_t error = on.error();
  if (on_chip_ && model_.resident()) {
    if (error == cudaSuccess) error = on_chip_->StepResident(input_.data(), output_.data());
    return Remember(error);
  }
  const Group& group = groups_[index];
  // The smallest graph that has the last active lane.
  const auto graph = static_cast<size_t>(std::bit_width(lanes - 1));
  if (error == cudaSuccess) error = cudaGraphLaunch(group.graphs[graph], group.stream);
  return Remember(error);
}

template <class T>
Status CudaStreams<T>::Finish(uint32_t index) noexcept {
  if (failed_) return Status::device_failed;
  if (on_chip_ && model_.resident()) return Status::ok;
  const OnDevice on(model_.device());
  cudaError_t error = cudaStreamSynchronize(groups_[index].stream);
  if (error == cudaSuccess && on_chip_ && on_chip_->failed()) error = cudaErrorLaunchTimeout;
  return Remember(error);
}

template <class T>
cudaError_t CudaStreams<T>::AllocateSteps(uint32_t steps, uint32_t rows) {
  const size_t tokens = size_t{steps} * lanes_;
  cudaError_t e = cudaSuccess;
  // What there is makes room first.
  tokens_ = {};
  workspace_ = {};
  prompt_.reset();
  for (Piece& piece : steps_) {
    piece.input = {};
    piece.output = {};
  }
  if (std::is_same_v<T, float> && lanes_ == 1 && model_.bf16_forward() && program_.large()) {
    e = MakePrompt(steps, rows > 1);
    if (e == cudaErrorNotSupported) e = cudaSuccess;  // shapes that only the general way takes
  }
  if (e == cudaSuccess && !prompt_) {
    e = tokens_.Allocate(tokens * TokenStride());
    const size_t bytes = std::max<size_t>(program_.workspace(lanes_, steps), 1);
    if (e == cudaSuccess) e = workspace_.Allocate(bytes);
  }
  for (Piece& piece : steps_) {
    if (e == cudaSuccess) e = piece.input.Allocate(tokens * plan_.input_width);
    if (e == cudaSuccess) e = piece.output.Allocate(size_t{rows} * lanes_ * plan_.output_width);
    if (e == cudaSuccess) std::fill_n(piece.input.data(), piece.input.size(), T(0));
    if (e == cudaSuccess && !piece.done) {
      e = cudaEventCreateWithFlags(&piece.done, cudaEventDisableTiming);
    }
  }
  return e;
}

template <class T>
Status CudaStreams<T>::PrepareSteps(uint32_t steps, bool last_only, uint32_t* at_once) noexcept {
  if (failed_) return Status::device_failed;
  const size_t frame = TokenStride() * sizeof(T);
  const size_t output = (last_only ? 1 : plan_.output_width) * sizeof(T);
  const size_t tokens = std::min({kTokens, kTokenBytes / frame, kOutputBytes / output});
  const size_t most = std::max<size_t>(tokens / lanes_, 1);
  *at_once = static_cast<uint32_t>(std::min<size_t>(steps, most));
  const uint32_t rows = last_only ? 1 : *at_once;
  last_only_ = last_only;
  if (*at_once <= steps_at_once_ && rows <= output_rows_) return Status::ok;
  const OnDevice on(model_.device());
  cudaError_t error = Rest();
  if (error == cudaSuccess) error = AllocateSteps(*at_once, rows);
  steps_at_once_ = error == cudaSuccess ? *at_once : 0;
  output_rows_ = error == cudaSuccess ? rows : 0;
  // Nothing has run: what there is goes on, and with more memory another try may go well.
  if (error == cudaErrorSharedObjectInitFailed) return Status::no_device;  // no cuBLASLt
  return error == cudaErrorMemoryAllocation ? StatusOf(error) : Remember(error);
}

template <class T>
cudaError_t CudaStreams<T>::MakePrompt(uint32_t steps, bool all_logits) {
  tuned_ = false;
  const uint32_t tokens = std::min(std::bit_ceil(steps), kPromptTokens);
  cudaError_t e = kernels::cuda::LargePrefill::Create(
      *program_.large(), {.lanes = 1, .max_tokens = tokens, .all_logits = all_logits},
      model_.shape(), &prompt_);
  if (e != cudaSuccess) prompt_.reset();
  return e == cudaSuccess ? workspace_.Allocate(prompt_->workspace_bytes()) : e;
}

template <class T>
cudaError_t CudaStreams<T>::EnqueuePrompt(uint32_t piece, uint32_t count) {
  if constexpr (std::is_same_v<T, float>) {
    const size_t width = plan_.output_width;
    const kernels::cuda::Prompt prompt = {
        .ids = steps_[piece].input.data(),
        .ids_at = {.lane = count, .step = 1},
        .steps = count,
        .logits = steps_[piece].output.data(),
        .logits_at = {.lane = last_only_ ? width : count * width, .step = last_only_ ? 0 : width},
        .all_logits = !last_only_ && count > 1};
    cudaError_t e = prompt_->Run(frames(0, 1), prompt, workspace_.data(), stream_);
    if (e != cudaSuccess || tuned_) return e;
    tuned_ = true;
    return prompt_->Tune(workspace_.data(), stream_);
  }
  return cudaErrorNotSupported;
}

template <class T>
cudaError_t CudaStreams<T>::EnqueueSteps(uint32_t piece, uint32_t count) {
  if (prompt_) {
    const cudaError_t e = EnqueuePrompt(piece, count);
    return e == cudaSuccess ? cudaEventRecord(steps_[piece].done, stream_) : e;
  }
  const kernels::cuda::Frames<T> tokens = {tokens_.data() - plan_.state_size, TokenStride(),
                                           count * lanes_, nullptr};
  cudaError_t e = kernels::cuda::Scatter(steps_[piece].input.data(), plan_.ops_input,
                                         plan_.input_width, nullptr, nullptr, tokens, stream_);
  if (e == cudaSuccess && lanes_ > 1) {
    e = cudaMemcpyAsync(active_here_.data(), active_.data(), lanes_, cudaMemcpyHostToDevice,
                        stream_);
  }
  if (e == cudaSuccess) {
    e = program_.Steps({frames(0, lanes_), tokens, count}, workspace_.data(), stream_);
  }
  if (e == cudaSuccess) {
    kernels::cuda::Frames<T> from = tokens;
    if (last_only_) {
      from = {tokens.data + (count - 1) * tokens.stride, count * tokens.stride, lanes_, nullptr};
    }
    e = kernels::cuda::Gather(from, plan_.output, plan_.output_width, steps_[piece].output.data(),
                              stream_);
  }
  return e == cudaSuccess ? cudaEventRecord(steps_[piece].done, stream_) : e;
}

template <class T>
Status CudaStreams<T>::StartSteps(uint32_t piece, uint32_t count) noexcept {
  if (failed_) return Status::device_failed;
  const OnDevice on(model_.device());
  const cudaError_t error = Rest();
  return Remember(error == cudaSuccess ? EnqueueSteps(piece, count) : error);
}

template <class T>
Status CudaStreams<T>::FinishSteps(uint32_t piece) noexcept {
  if (failed_) return Status::device_failed;
  const OnDevice on(model_.device());
  return Remember(cudaEventSynchronize(steps_[piece].done));
}

template <class T>
void* CudaStreams<T>::state_buffer() noexcept {
  if (!state_.data() && plan_.ops_state_size > 0) {
    const OnDevice on(model_.device());
    if (StatusOf(state_.Allocate(plan_.ops_state_size)) != Status::ok) return nullptr;
  }
  return state_.data();
}

template <class T>
Status CudaStreams<T>::CopyState(uint32_t lane, cudaMemcpyKind kind) noexcept {
  if (failed_) return Status::device_failed;
  if (!state_buffer()) return Status::out_of_memory;
  const OnDevice on(model_.device());
  const bool read = kind == cudaMemcpyDeviceToHost;
  T* const here = state_.data();
  cudaError_t error = Rest();
  if (error == cudaSuccess) {
    error = cudaMemcpy(read ? here : state(lane), read ? state(lane) : here,
                       state_.size() * sizeof(T), kind);
  }
  return Remember(error);
}

template <class T>
Status CudaStreams<T>::ReadState(uint32_t lane) noexcept {
  return CopyState(lane, cudaMemcpyDeviceToHost);
}

template <class T>
Status CudaStreams<T>::WriteState(uint32_t lane) noexcept {
  return CopyState(lane, cudaMemcpyHostToDevice);
}

template <class T>
Status CudaStreams<T>::ResetState(uint32_t lane) noexcept {
  if (failed_) return Status::device_failed;
  const OnDevice on(model_.device());
  cudaError_t error = Rest();
  if (error == cudaSuccess) {
    error = cudaMemsetAsync(state(lane), 0, plan_.ops_state_size * sizeof(T), stream_);
  }
  if (error == cudaSuccess) error = cudaStreamSynchronize(stream_);
  return Remember(error);
}

template <class T>
Status MakeCudaStreams(const CudaModel& model, uint32_t lanes, std::unique_ptr<DeviceStreams>* out,
                       Fault* fault) {
  auto streams = std::make_unique<CudaStreams<T>>(model, lanes);
  if (const Status s = streams->Open(fault); s != Status::ok) return s;
  *out = std::move(streams);
  return Status::ok;
}
template Status MakeCudaStreams<float>(const CudaModel&, uint32_t, std::unique_ptr<DeviceStreams>*,
                                       Fault*);
template Status MakeCudaStreams<double>(const CudaModel&, uint32_t, std::unique_ptr<DeviceStreams>*,
                                        Fault*);

}  // namespace xst::cuda
