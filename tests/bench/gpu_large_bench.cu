// Time of xLSTM Large in the shape of the 7B model, with random weights made on the device: one
// token a step (bf16, i8) and a prompt of 2,048 tokens. One JSON object a line.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <thread>
#include <vector>

#include "kernels/cuda/large_decode.h"
#include "kernels/cuda/large_prefill.h"

namespace {

using namespace xst::kernels;        // NOLINT: this file is about nothing else
using namespace xst::kernels::cuda;  // NOLINT

constexpr uint32_t kWidth = 4096, kHeads = 8, kBlocks = 32, kVocabulary = 50304;
constexpr uint32_t kQk = 2048, kInner = 10944, kPrompt = 2048;
constexpr int kDecodeSteps = 200, kPrefills = 15;

void Check(cudaError_t e, const char* what) {
  if (e == cudaSuccess) return;
  std::fprintf(stderr, "gpu_large_bench: %s: %s\n", what, cudaGetErrorString(e));
  std::_Exit(1);
}

__device__ uint32_t Hash(uint64_t i) {
  i = (i ^ (i >> 31)) * 0x9E3779B97F4A7C15ull;
  i = (i ^ (i >> 29)) * 0xBF58476D1CE4E5B9ull;
  return static_cast<uint32_t>(i >> 32);
}
__device__ float Uniform(uint64_t i) {
  return static_cast<float>(static_cast<int32_t>(Hash(i))) * (1.0f / 2147483648.0f);
}

// Numbers up to `size` in magnitude: bf16, or i8 with the scale of their row.
__global__ void FillMatrix(Matrix w, size_t stride, float size, uint64_t seed) {
  const size_t n = w.rows * stride;
  for (size_t i = blockIdx.x * size_t{blockDim.x} + threadIdx.x; i < n;
       i += size_t{gridDim.x} * blockDim.x) {
    const float u = i % stride < w.cols ? Uniform(seed + i) : 0;
    if (w.dtype == DType::bf16) {
      static_cast<uint16_t*>(const_cast<void*>(w.data))[i] =
          static_cast<uint16_t>(__float_as_uint(u * size) >> 16);
    } else {
      static_cast<int8_t*>(const_cast<void*>(w.data))[i] = static_cast<int8_t>(rintf(u * 127));
      if (i % stride == 0) const_cast<float*>(w.scale)[i / stride] = size / 127;
    }
  }
}
__global__ void FillVector(float* v, uint32_t n, float mean, float size, uint64_t seed) {
  const uint32_t i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) v[i] = mean + size * Uniform(seed + i);
}
__global__ void __launch_bounds__(512) ReadAll(const uint4* p, size_t n, uint32_t* out) {
  constexpr int kAtOnce = 8;
  const size_t step = size_t{gridDim.x} * blockDim.x;
  uint32_t sum = 0;
  for (size_t i = blockIdx.x * size_t{blockDim.x} + threadIdx.x; i + (kAtOnce - 1) * step < n;
       i += kAtOnce * step) {
    uint4 v[kAtOnce];
#pragma unroll
    for (int j = 0; j < kAtOnce; ++j) v[j] = __ldcs(p + i + j * step);
#pragma unroll
    for (int j = 0; j < kAtOnce; ++j) sum ^= v[j].x ^ v[j].y ^ v[j].z ^ v[j].w;
  }
  if (sum == 1) *out = sum;  // that the loads are needed
}

class Model {
 public:
  explicit Model(DType type) : type_(type) {
    const Slot state = TakeState(), x = Take(kWidth);
    input = Take(1);
    stack.embed = {NewMatrix(kVocabulary, kWidth, 8), input, x};
    stack.x = x;
    const Slot u = Take(kWidth), q = Take(2 * (kQk + kWidth)), gates = Take(2 * kHeads);
    const Slot k = q + kQk, v = k + kQk, o = v + kWidth;
    const Slot h = Take(kWidth), y = Take(kWidth), gate = Take(2 * kInner), z = Take(kInner);
    constexpr uint32_t kDk = kQk / kHeads, kDv = kWidth / kHeads;
    for (uint32_t i = 0; i < kBlocks; ++i) {
      const Slot c = state + i * kBlockState, n = c + kQk * kDv, m = n + kQk;
      stack.blocks.push_back(
          {.norm = NewNorm(x, u),
           .qkvo = {NewMatrix(2 * (kQk + kWidth), kWidth), nullptr, u, q, false},
           .gates = {NewMatrix(2 * kHeads, kWidth), NewVector(2 * kHeads, 1), u, gates, false},
           .cell = {kHeads, kDk, kDv, kDv, kDk, 1e-6f, 15, false, q, k, v, h, gates, c, n, m},
           .mlstm_out = {NewVector(kWidth, 1), nullptr, nullptr, 0, true, kHeads, kDv, 1e-6f, h, 0,
                         o, y},
           .out = {NewMatrix(kWidth, kWidth), nullptr, y, x, true},
           .ffn_norm = NewNorm(x, u),
           .up = {NewMatrix(2 * kInner, kWidth), nullptr, u, gate, false},
           .act = {Activation::swish, kInner, gate, gate + kInner, z},
           .down = {NewMatrix(kWidth, kInner), nullptr, z, x, true}});
    }
    stack.out_norm = NewNorm(x, u);
    output = Take(kVocabulary);
    stack.head = {NewMatrix(kVocabulary, kWidth, 4), nullptr, u, output, false};
    stack.soft_cap = Pointwise{PointwiseKind::soft_cap, 30, kVocabulary, output, output};
    frame_size = (frame_size + 31) / 32 * 32;
    frame = static_cast<float*>(New(frame_size * sizeof(float)));
    // Of the embedding, a token reads one row. C is read and written.
    token_bytes = matrix_bytes_ - double{kVocabulary - 1} * kWidth * SizeOf(type_) +
                  2.0 * kBlocks * kQk * kDv * sizeof(float);
    Check(cudaDeviceSynchronize(), "making the model");
  }
  ~Model() {
    for (void* p : memory_) cudaFree(p);
  }
  Model(const Model&) = delete;
  Model& operator=(const Model&) = delete;

  Frames<float> frames() const { return {frame, frame_size, 1, nullptr}; }

  LargeStack stack;
  Slot input, output;
  size_t frame_size = 0;
  float* frame;
  double token_bytes;

 private:
  static constexpr uint32_t kBlockState = kQk * (kWidth / kHeads) + kQk + 16;

  Slot Take(uint32_t n) {
    const auto at = static_cast<Slot>(frame_size);
    frame_size += (n + 15) / 16 * 16;
    return at;
  }
  Slot TakeState() { return Take(kBlocks * kBlockState); }
  void* New(size_t bytes) {
    void* p;
    Check(cudaMalloc(&p, bytes), "cudaMalloc");
    Check(cudaMemset(p, 0, bytes), "cudaMemset");
    memory_.push_back(p);
    return p;
  }
  // Scaled so that activations keep their size.
  Matrix NewMatrix(uint32_t rows, uint32_t cols, float gain = 1) {
    const size_t stride = RowStride(type_, cols), bytes = rows * stride * SizeOf(type_);
    const float* scale =
        type_ == DType::i8 ? static_cast<float*>(New(size_t{RoundUp16(rows)} * 4)) : nullptr;
    const Matrix w{New(bytes), scale, rows, cols, type_, Layout::rows};
    FillMatrix<<<2048, 256>>>(w, stride, gain * std::sqrt(3.0f / cols), ++seed_ << 32);
    Check(cudaGetLastError(), "FillMatrix");
    matrix_bytes_ += static_cast<double>(bytes);
    return w;
  }
  const float* NewVector(uint32_t n, float mean) {
    auto* v = static_cast<float*>(New(n * sizeof(float)));
    FillVector<<<(n + 255) / 256, 256>>>(v, n, mean, 0.3f, ++seed_ << 32);
    Check(cudaGetLastError(), "FillVector");
    return v;
  }
  Norm NewNorm(Slot x, Slot y) {
    return {NewVector(kWidth, 1), nullptr, 0, 1e-6f, kWidth, false, x, y};
  }

  DType type_;
  std::vector<void*> memory_;
  double matrix_bytes_ = 0;
  uint64_t seed_ = 0;
};

struct Times {
  double p50_us, p99_us;
};
template <class F>
Times Time(cudaStream_t stream, int runs, const F& run) {
  std::vector<cudaEvent_t> events(runs + 1);
  for (cudaEvent_t& e : events) Check(cudaEventCreate(&e), "cudaEventCreate");
  for (int i = 0; i < 3; ++i) run();
  Check(cudaEventRecord(events[0], stream), "cudaEventRecord");
  for (int i = 0; i < runs; ++i) {
    run();
    Check(cudaEventRecord(events[i + 1], stream), "cudaEventRecord");
  }
  Check(cudaStreamSynchronize(stream), "the timed launches");
  std::vector<float> ms(runs);
  for (int i = 0; i < runs; ++i) cudaEventElapsedTime(&ms[i], events[i], events[i + 1]);
  for (const cudaEvent_t e : events) cudaEventDestroy(e);
  std::sort(ms.begin(), ms.end());
  return {1e3 * ms[runs / 2], 1e3 * ms[std::min(runs - 1, runs * 99 / 100)]};
}

template <class F>
cudaGraphExec_t Capture(cudaStream_t stream, const F& launch) {
  cudaGraph_t graph;
  cudaGraphExec_t made;
  Check(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), "capture");
  launch();
  Check(cudaStreamEndCapture(stream, &graph), "capture");
  Check(cudaGraphInstantiate(&made, graph, 0), "cudaGraphInstantiate");
  Check(cudaGraphDestroy(graph), "cudaGraphDestroy");
  return made;
}

void CheckLogits(const float* device) {
  std::vector<float> y(kVocabulary);
  Check(cudaMemcpy(y.data(), device, y.size() * sizeof(float), cudaMemcpyDeviceToHost), "logits");
  float most = 0;
  bool finite = true;
  for (const float v : y) {
    finite = finite && std::isfinite(v);
    most = std::max(most, std::fabs(v));
  }
  if (finite && most > 0) return;
  std::fprintf(stderr, "gpu_large_bench: the logits are not what logits are\n");
  std::_Exit(1);
}

double ReadGbS(const Model& model, cudaStream_t stream) {
  uint32_t* out;
  Check(cudaMalloc(&out, sizeof(*out)), "cudaMalloc");
  const auto bytes = [](const Matrix& w) {
    return RowStride(w.dtype, w.cols) * SizeOf(w.dtype) * w.rows;
  };
  double all = 0;
  for (const LargeBlock& b : model.stack.blocks) all += static_cast<double>(bytes(b.up.w));
  const Times t = Time(stream, 10, [&] {
    for (const LargeBlock& b : model.stack.blocks) {
      ReadAll<<<528, 512, 0, stream>>>(static_cast<const uint4*>(b.up.w.data), bytes(b.up.w) / 16,
                                       out);
    }
  });
  Check(cudaFree(out), "cudaFree");
  return all / t.p50_us / 1e3;
}

void Decode(const Model& model, const char* type, double read_gb_s, const DeviceShape& device,
            cudaStream_t stream) {
  cudaGraphExec_t graph = Capture(stream, [&] {
    Check(LaunchLargeDecode(model.stack, model.frames(), device, stream), "LaunchLargeDecode");
  });
  const Times t =
      Time(stream, kDecodeSteps, [&] { Check(cudaGraphLaunch(graph, stream), "cudaGraphLaunch"); });
  Check(cudaGraphExecDestroy(graph), "cudaGraphExecDestroy");
  CheckLogits(model.frame + model.output);
  const double gb_s = model.token_bytes / t.p50_us / 1e3;
  std::printf(
      "{\"name\": \"xst large decode %s\", \"p50_us\": %.1f, \"p99_us\": %.1f, \"steps\": %d, "
      "\"tokens_per_s\": %.1f, \"gb_per_s\": %.0f, \"read_gb_per_s\": %.0f, "
      "\"limit_ratio\": %.3f}\n",
      type, t.p50_us, t.p99_us, kDecodeSteps, 1e6 / t.p50_us, gb_s, read_gb_s, read_gb_s / gb_s);
}

void Prefill(const Model& model, const DeviceShape& device, cudaStream_t stream) {
  std::unique_ptr<LargePrefill> prefill;
  const cudaError_t made = LargePrefill::Create(model.stack, {1, kPrompt, false}, device, &prefill);
  if (made == cudaErrorSharedObjectInitFailed) {
    std::fprintf(stderr, "gpu_large_bench: no cuBLASLt, so no prefill\n");
    return;
  }
  Check(made, "LargePrefill::Create");
  void* workspace;
  float *ids, *logits;
  Check(cudaMalloc(&workspace, prefill->workspace_bytes()), "cudaMalloc");
  Check(cudaMalloc(&ids, kPrompt * sizeof(float)), "cudaMalloc");
  Check(cudaMalloc(&logits, kVocabulary * sizeof(float)), "cudaMalloc");
  std::vector<float> prompt(kPrompt);
  for (uint32_t i = 0; i < kPrompt; ++i) prompt[i] = static_cast<float>(i * 7919u % kVocabulary);
  Check(cudaMemcpy(ids, prompt.data(), kPrompt * sizeof(float), cudaMemcpyHostToDevice), "prompt");
  const Prompt p{ids, {kPrompt, 1}, kPrompt, logits, {kVocabulary, 0}, false};
  const auto run = [&] {
    Check(prefill->Run(model.frames(), p, workspace, stream), "LargePrefill::Run");
  };
  run();
  Check(prefill->Tune(workspace, stream), "LargePrefill::Tune");
  const Times t = Time(stream, kPrefills, run);
  CheckLogits(logits);
  std::printf(
      "{\"name\": \"xst large prefill %u bf16\", \"p50_us\": %.1f, \"p99_us\": %.1f, "
      "\"steps\": %d, \"tokens_per_s\": %.0f}\n",
      kPrompt, t.p50_us, t.p99_us, kPrefills, 1e6 * kPrompt / t.p50_us);
  for (void* m : {workspace, static_cast<void*>(ids), static_cast<void*>(logits)}) cudaFree(m);
}

}  // namespace

int main() {
  std::thread([] {
    std::this_thread::sleep_for(std::chrono::seconds(60));
    std::fprintf(stderr, "gpu_large_bench: still not done after 60 s\n");
    std::_Exit(1);
  }).detach();
  DeviceShape device;
  cudaStream_t stream;
  Check(GetDeviceShape(0, &device), "GetDeviceShape");
  Check(cudaStreamCreate(&stream), "cudaStreamCreate");
  double read_gb_s = 0;
  {
    const Model model(DType::bf16);
    read_gb_s = ReadGbS(model, stream);
    Decode(model, "bf16", read_gb_s, device, stream);
    Prefill(model, device, stream);
  }
  const Model model(DType::i8);
  Decode(model, "i8", read_gb_s, device, stream);
  Check(cudaStreamDestroy(stream), "cudaStreamDestroy");
  return 0;
}
