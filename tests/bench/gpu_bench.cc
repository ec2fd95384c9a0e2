// The time of a model's steps on a CUDA device alone, without the host's share: one JSON object.
// usage: gpu_bench M.xst [--streams N] [--forward T] [--device K]
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "kernels/cuda/staging.h"
#include "sdk/cuda/model.h"
#include "sdk/cuda/program.h"
#include "sdk/model_core.h"

namespace xst {
namespace {

using cuda::DeviceBuffer;

void Must(cudaError_t error, const char* what) {
  if (error == cudaSuccess) return;
  std::fprintf(stderr, "gpu_bench: %s: expected success, got %s\n", what,
               cudaGetErrorString(error));
  std::exit(1);
}

struct Figures {
  double p50, p99;  // microseconds
};

// Times calls of `run` with device events, after a warm-up.
template <class F>
Figures Time(int calls, cudaStream_t stream, const F& run) {
  cudaEvent_t begin, end;
  Must(cudaEventCreate(&begin), "event");
  Must(cudaEventCreate(&end), "event");
  std::vector<double> micros;
  for (int i = -3; i < calls; ++i) {
    Must(cudaEventRecord(begin, stream), "record");
    run();
    Must(cudaEventRecord(end, stream), "record");
    Must(cudaEventSynchronize(end), "call");
    float ms;
    Must(cudaEventElapsedTime(&ms, begin, end), "time");
    if (i >= 0) micros.push_back(1e3 * double{ms});
  }
  std::sort(micros.begin(), micros.end());
  return {micros[micros.size() / 2], micros[micros.size() * 99 / 100]};
}

template <class T>
void Fill(T* to, size_t size, uint32_t vocabulary) {
  std::mt19937 random(7);
  std::normal_distribution<float> normal;
  std::vector<T> values(size);
  for (T& v : values) {
    v = vocabulary ? static_cast<T>(random() % vocabulary) : static_cast<T>(normal(random));
  }
  Must(cudaMemcpy(to, values.data(), size * sizeof(T), cudaMemcpyHostToDevice), "input");
}

template <class T, class F>
Figures TimeGraph(int calls, cudaStream_t stream, const F& enqueue) {
  cudaGraph_t graph;
  cudaGraphExec_t exec;
  Must(enqueue(), "first call");
  Must(cudaStreamSynchronize(stream), "first call");
  Must(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), "capture");
  Must(enqueue(), "capture");
  Must(cudaStreamEndCapture(stream, &graph), "capture");
  Must(cudaGraphInstantiate(&exec, graph, 0), "graph");
  return Time(calls, stream, [&] { Must(cudaGraphLaunch(exec, stream), "launch"); });
}

template <class T>
int Bench(const ModelCore& core, uint32_t device, uint32_t streams, uint32_t forward) {
  constexpr int kCalls = 200;
  constexpr uint32_t kOnChipSteps = 1000;
  const Plan& plan = core.plan;
  cuda::CudaModel model({.plan = &plan, .index = device, .wide = core.wide});
  Fault fault;
  if (model.Open(&fault) != Status::ok) {
    std::fprintf(stderr, "gpu_bench: %s\n", fault.message);
    return 1;
  }
  Must(cudaSetDevice(static_cast<int>(device)), "device");
  cudaStream_t stream;
  Must(cudaStreamCreate(&stream), "stream");
  const uint32_t vocabulary = plan.tokens ? formats::VocabSize(core.info.config) : 0;
  const size_t stride = (plan.frame_size + 31) / 32 * 32;
  DeviceBuffer<T> frames;
  Must(frames.Allocate(stride * streams), "frames");
  Must(cudaMemset(frames.data(), 0, stride * streams * sizeof(T)), "frames");
  const cuda::Program<T> program(plan, model.ops(), model.shape());
  const kernels::cuda::Frames<T> lanes = {frames.data(), stride, streams, nullptr};
  DeviceBuffer<T> input;
  const char* path = "lanes";
  Figures f;
  uint64_t steps = streams;
  if (forward > 0) {
    path = "forward";
    const size_t tokens = size_t{streams} * forward;
    const size_t token_stride = (plan.frame_size - plan.state_size + 31) / 32 * 32;
    DeviceBuffer<T> memory;
    DeviceBuffer<std::byte> workspace;
    Must(memory.Allocate(tokens * token_stride), "tokens");
    Must(workspace.Allocate(program.workspace(streams, forward) + 1), "workspace");
    Must(input.Allocate(tokens * plan.input_width), "input");
    Fill(input.data(), input.size(), vocabulary);
    const kernels::cuda::Sequence<T> sequence = {
        lanes,
        {memory.data() - plan.state_size, token_stride, static_cast<uint32_t>(tokens), nullptr},
        forward};
    steps = tokens;
    f = TimeGraph<T>(kCalls / 4, stream, [&] {
      const cudaError_t e = kernels::cuda::Scatter(input.data(), plan.ops_input, plan.input_width,
                                                   nullptr, nullptr, sequence.tokens, stream);
      return e == cudaSuccess ? program.Steps(sequence, workspace.data(), stream) : e;
    });
  } else if (streams == 1 && model.on_chip().fits()) {
    path = "on chip";
    DeviceBuffer<T> out;
    DeviceBuffer<uint8_t> exchange;
    const auto& on_chip = model.on_chip();
    Must(input.Allocate(size_t{kOnChipSteps} * plan.input_width), "input");
    Must(out.Allocate(size_t{kOnChipSteps} * plan.output_width), "output");
    Must(exchange.Allocate(std::max<size_t>(on_chip.plan().exchange_bytes, 1)), "exchange");
    Fill(input.data(), input.size(), vocabulary);
    const kernels::cuda::OnChipStream<T> s = {on_chip.image(), exchange.data(), frames.data()};
    f = Time(kCalls / 4, stream, [&] {
      Must(kernels::cuda::LaunchSteps(on_chip.plan(), s, input.data(), out.data(), kOnChipSteps,
                                      nullptr, stream),
           "steps");
    });
    f.p50 /= kOnChipSteps;
    f.p99 /= kOnChipSteps;
  } else {
    Must(input.Allocate(size_t{streams} * plan.input_width), "input");
    Fill(input.data(), input.size(), vocabulary);
    f = TimeGraph<T>(kCalls, stream, [&] {
      const cudaError_t e = kernels::cuda::Scatter(input.data(), plan.ops_input, plan.input_width,
                                                   nullptr, nullptr, lanes, stream);
      return e == cudaSuccess ? program.Step(lanes, stream) : e;
    });
  }
  std::printf(
      "{\"path\":\"%s\",\"streams\":%u,\"steps\":%u,\"p50_us\":%.3f,\"p99_us\":%.3f,"
      "\"stream_steps_per_s\":%.0f,\"state_bytes\":%llu}\n",
      path, streams, forward, f.p50, f.p99, 1e6 * static_cast<double>(steps) / f.p50,
      static_cast<unsigned long long>(core.info.state_bytes));
  return 0;
}

int Main(int argc, char** argv) {
  std::string file;
  uint32_t streams = 1, forward = 0, device = 0;
  for (int i = 1; i < argc; ++i) {
    const auto number = [&] { return static_cast<uint32_t>(std::atoi(argv[++i])); };
    if (std::strcmp(argv[i], "--streams") == 0 && i + 1 < argc) {
      streams = number();
    } else if (std::strcmp(argv[i], "--forward") == 0 && i + 1 < argc) {
      forward = number();
    } else if (std::strcmp(argv[i], "--device") == 0 && i + 1 < argc) {
      device = number();
    } else {
      file = argv[i];
    }
  }
  if (file.empty() || streams == 0) {
    std::fprintf(stderr, "usage: gpu_bench M.xst [--streams N] [--forward T] [--device K]\n");
    return 2;
  }
  try {
    const auto model = Model::open(file);  // for its Plan
    const ModelCore& core = model->core();
    return core.wide ? Bench<double>(core, device, streams, forward)
                     : Bench<float>(core, device, streams, forward);
  } catch (const Error& e) {
    std::fprintf(stderr, "gpu_bench: %s\n", e.what());
    return 1;
  }
}

}  // namespace
}  // namespace xst

int main(int argc, char** argv) { return xst::Main(argc, argv); }
