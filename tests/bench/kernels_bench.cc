// Time of every op at the shapes of the README configuration (dimension 128, 7 blocks, sLSTM at
// 1), on each table of this machine: `Step` is a whole step, `Op/...` what the ops of one kind
// cost within it, where weights and state come from wherever a step of that size finds them.
// `Many/...` is the same of 64 streams in tiles of 16, and `Sequence/...` of 32 steps of one
// stream, both for one stream step.
#include <benchmark/benchmark.h>
#include <sys/mman.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <limits>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "kernels/kernels.h"
#include "kernels/memory_probe.h"

namespace xst::kernels {
namespace {

size_t ElementBytes(DType t) { return t == DType::f32 ? 4 : t == DType::i8 ? 1 : 2; }

constexpr uint32_t kDim = 128, kInner = 256, kForward = 192, kHeads = 4, kKernel = 4, kBlocks = 7;

// One run of memory with random values, handed out in order.
class Arena {
 public:
  explicit Arena(size_t bytes) : memory_(std::aligned_alloc(size_t{2} << 20, bytes), std::free) {
    madvise(memory_.get(), bytes, MADV_HUGEPAGE);
    next_ = static_cast<float*>(memory_.get());
  }
  // All of it filled with bytes that are harmless numbers in every type.
  Arena(size_t bytes, std::in_place_t) : Arena(bytes) {
    auto* words = reinterpret_cast<uint32_t*>(next_);
    for (size_t i = 0; i < bytes / 4; ++i) {
      words[i] = 0x3f003f00u | (static_cast<uint32_t>(rng_()) & 0x007f007fu);
    }
  }
  const char* data() const { return static_cast<const char*>(memory_.get()); }
  const float* Random(size_t n, float size) {
    float* at = next_;
    next_ += RoundUp16(static_cast<uint32_t>(n));
    std::uniform_real_distribution<float> u(-size, size);
    for (size_t i = 0; i < n; ++i) at[i] = u(rng_);
    return at;
  }
  Matrix Panels(uint32_t rows, uint32_t cols) {
    return {Random(size_t{RoundUp16(rows)} * cols, 0.1f),
            nullptr,
            rows,
            cols,
            DType::f32,
            Layout::panel};
  }
  size_t used_bytes() const {
    return static_cast<size_t>(next_ - static_cast<float*>(memory_.get())) * sizeof(float);
  }

 private:
  std::unique_ptr<void, void (*)(void*)> memory_;
  float* next_;
  std::mt19937 rng_{1};
};

struct Step {
  struct Named {
    std::string name;
    Op op;
  };
  std::vector<Named> ops;
  Arena weights{size_t{4} << 20};
  Slot size = 0;
  size_t state_floats = 0;

  Step() {
    const Slot x = Take(kDim), u = Take(kDim), up = Take(2 * kInner), c = Take(kInner);
    const Slot q = Take(3 * kInner), gates = Take(2 * kHeads), h = Take(kInner), y = Take(kInner);
    const Slot wx = Take(4 * kDim), g = Take(2 * kForward);
    for (uint32_t b = 0; b < kBlocks; ++b) {
      Add("norm", Norm{weights.Random(kDim, 0.1f), nullptr, 1, 1e-5f, kDim, true, x, u});
      if (b == 1) {
        Slstm(x, u, c, wx, h, g, y);
      } else {
        Mlstm(x, u, up, c, q, gates, h, y);
      }
    }
    Add("norm", Norm{weights.Random(kDim, 0.1f), nullptr, 1, 1e-5f, kDim, true, x, u});
    // What feeds the next step is the input, not the output.
    size = RoundUp16(size) + 64;
  }

 private:
  Slot Take(uint32_t n) {
    const Slot at = size;
    size += RoundUp16(n);
    return at;
  }
  Slot State(uint32_t n) {
    state_floats += n;
    return Take(n);
  }
  void Add(const std::string& name, const Op& op) { ops.push_back({name, op}); }
  Conv MakeConv(uint32_t channels, Slot x, Slot y) {
    return {weights.Random(kKernel * channels, 0.5f),
            weights.Random(channels, 0.1f),
            channels,
            kKernel,
            channels,
            State((kKernel - 1) * channels),
            x,
            y};
  }
  void Mlstm(Slot x, Slot u, Slot up, Slot c, Slot q, Slot gates, Slot h, Slot y) {
    constexpr uint32_t kHead = kInner / kHeads;
    const Slot k = q + kInner, v = k + kInner;
    Add("linear up 512x128", Linear{weights.Panels(2 * kInner, kDim), nullptr, u, up, false});
    Add("conv 256", MakeConv(kInner, up, c));
    Add("block_linear 256/4", BlockLinear{weights.Panels(kInner, 4), nullptr, c, q});
    Add("block_linear 256/4", BlockLinear{weights.Panels(kInner, 4), nullptr, c, k});
    Add("block_linear 256/4", BlockLinear{weights.Panels(kInner, 4), nullptr, up, v});
    Add("linear gates 8x768", Linear{{weights.Random(2 * kHeads * 3 * kInner, 0.1f), nullptr,
                                      2 * kHeads, 3 * kInner, DType::f32, Layout::rows},
                                     weights.Random(2 * kHeads, 1),
                                     q,
                                     gates,
                                     false});
    Add("mlstm_cell 4x64x64",
        MlstmCell{kHeads, kHead, kHead, kHead, kHead, 1e-6f, 0, true, q, k, v, h, gates,
                  State(kInner * kHead), State(kInner), State(kHeads)});
    Add("mlstm_out 4x64", MlstmOut{weights.Random(kInner, 0.1f), nullptr, weights.Random(kInner, 1),
                                   1, false, kHeads, kHead, 1e-5f, h, c, up + kInner, y});
    Add("linear down 128x256", Linear{weights.Panels(kDim, kInner), nullptr, y, x, true});
  }
  void Slstm(Slot x, Slot u, Slot c, Slot wx, Slot h, Slot g, Slot y) {
    constexpr uint32_t kHead = kDim / kHeads;
    const Slot previous = State(kDim);
    Add("conv 128", MakeConv(kDim, u, c));
    Add("slstm_input 4x32", SlstmInput{weights.Panels(4 * kDim, kHead), kDim, kHead, c, u, wx});
    Add("slstm_cell 4x32", SlstmCell{weights.Panels(4 * kDim, kHead), weights.Random(4 * kDim, 1),
                                     kDim, kHead, std::numeric_limits<float>::infinity(), false, wx,
                                     previous, State(kDim), State(kDim), State(kDim), h});
    Add("slstm_out 4x32",
        SlstmOut{weights.Random(kDim, 0.1f), kHeads, kHead, 1e-5f, h, previous, x});
    Add("norm", Norm{weights.Random(kDim, 0.1f), nullptr, 1, 1e-5f, kDim, true, x, u});
    Add("linear up 384x128", Linear{weights.Panels(2 * kForward, kDim), nullptr, u, g, false});
    Add("gated_act gelu 192", GatedAct{Activation::gelu, kForward, g, g + kForward, y});
    Add("linear down 128x192", Linear{weights.Panels(kDim, kForward), nullptr, y, x, true});
  }
};

// One stream: its frame, and the input of the next step at the start of it.
class Stream {
 public:
  explicit Stream(const Step& step)
      : memory_(std::aligned_alloc(size_t{2} << 20, size_t{2} << 20), std::free) {
    madvise(memory_.get(), size_t{2} << 20, MADV_HUGEPAGE);
    std::fill_n(frame(), step.size, 0.0f);
    std::uniform_real_distribution<float> u(-1, 1);
    for (float& x : input_) x = u(rng_);
  }
  float* frame() const { return static_cast<float*>(memory_.get()); }
  void Feed() {
    // Another input each step, without drawing numbers within the time.
    std::rotate(input_.begin(), input_.begin() + 1, input_.end());
    std::copy(input_.begin(), input_.end(), frame());
  }

 private:
  std::unique_ptr<void, void (*)(void*)> memory_;
  std::mt19937 rng_{2};
  std::vector<float> input_ = std::vector<float>(kDim);
};

const Step& ReadmeStep() {
  static const Step step;
  return step;
}

void WholeStep(benchmark::State& state, const Kernels<float>& table) {
  const Step& step = ReadmeStep();
  Stream stream(step);
  const FlushDenormals flush;
  for (auto _ : state) {
    stream.Feed();
    for (const Step::Named& n : step.ops) Run(table, n.op, stream.frame());
  }
  state.counters["limit_us"] =
      StreamLimitMicros(step.weights.used_bytes(), step.state_floats * 4, table.name, 200);
}

void OneKind(benchmark::State& state, const Kernels<float>& table, const std::string& kind) {
  using Clock = std::chrono::steady_clock;
  const Step& step = ReadmeStep();
  Stream stream(step);
  const FlushDenormals flush;
  for (auto _ : state) {
    stream.Feed();
    Clock::duration time{};
    for (const Step::Named& n : step.ops) {
      const Range all{0, Units(n.op)};
      if (n.name != kind) {
        Run(table, n.op, stream.frame(), all);
        continue;
      }
      const Clock::time_point start = Clock::now();
      Run(table, n.op, stream.frame(), all);
      time += Clock::now() - start;
    }
    state.SetIterationTime(std::chrono::duration<double>(time).count());
  }
}

// Frames a little apart in the sets of a cache.
class Frames {
 public:
  Frames(const Step& step, size_t count) : stride_((UnitsOf(step.size) | 1) * size_t{kUnit}) {
    const size_t huge = size_t{2} << 20;
    const size_t bytes = (count * stride_ * sizeof(float) + huge - 1) / huge * huge;
    memory_.reset(std::aligned_alloc(huge, bytes));
    madvise(memory_.get(), bytes, MADV_HUGEPAGE);
    auto* first = static_cast<float*>(memory_.get());
    std::fill_n(first, count * stride_, 0.0f);
    std::mt19937 rng(2);
    std::uniform_real_distribution<float> u(-1, 1);
    for (size_t i = 0; i < count; ++i) {
      pointers_.push_back(first + i * stride_);
      for (size_t k = 0; k < kDim; ++k) pointers_[i][k] = u(rng);
    }
  }
  size_t stride() const { return stride_; }
  Batch<float> Tile(size_t first, size_t count) const {
    return {pointers_.data() + first, pointers_.data() + first, count};
  }

 private:
  size_t stride_;
  std::unique_ptr<void, void (*)(void*)> memory_{nullptr, &std::free};
  std::vector<float*> pointers_;
};

void ManyOfOneKind(benchmark::State& state, const Kernels<float>& table, const std::string& kind) {
  using Clock = std::chrono::steady_clock;
  constexpr size_t kStreams = 64, kTile = 16;
  const Step& step = ReadmeStep();
  const Frames frames(step, kStreams);
  const FlushDenormals flush;
  for (auto _ : state) {
    Clock::duration time{};
    for (size_t first = 0; first < kStreams; first += kTile) {
      for (const Step::Named& n : step.ops) {
        const Clock::time_point start = Clock::now();
        Run(table, n.op, frames.Tile(first, kTile), {0, Units(n.op)});
        if (n.name == kind) time += Clock::now() - start;
      }
    }
    state.SetIterationTime(std::chrono::duration<double>(time).count() / kStreams);
  }
}

void SequenceOfCells(benchmark::State& state, const Kernels<float>& table) {
  const Step& step = ReadmeStep();
  const Frames frames(step, kSequence);
  const auto cell = std::find_if(step.ops.begin(), step.ops.end(), [](const Step::Named& n) {
    return std::holds_alternative<MlstmCell>(n.op);
  });
  const auto& op = std::get<MlstmCell>(cell->op);
  std::vector<float> scratch(SequenceScratch(op) + kUnit);
  void* aligned = scratch.data();
  size_t room = scratch.size() * sizeof(float);
  std::align(64, SequenceScratch(op) * sizeof(float), aligned, room);
  float* const first = frames.Tile(0, 1).frames[0];
  const Sequence<float> steps{first, frames.stride(), kSequence, first,
                              static_cast<float*>(aligned)};
  const FlushDenormals flush;
  using Clock = std::chrono::steady_clock;
  for (auto _ : state) {
    const Clock::time_point start = Clock::now();
    table.mlstm_sequence(op, steps, {0, Units(op)});
    state.SetIterationTime(std::chrono::duration<double>(Clock::now() - start).count() / kSequence);
  }
}

// A matrix of 4096 x 4096 after the other, out of more memory than caches hold.
void LargeLinear(benchmark::State& state, const Kernels<float>& table, DType dtype) {
  constexpr uint32_t kSize = 4096;
  constexpr size_t kMemory = size_t{512} << 20;
  const size_t bytes = size_t{kSize} * kSize * ElementBytes(dtype);
  static const std::unique_ptr<void, void (*)(void*)> memory = [] {
    std::unique_ptr<void, void (*)(void*)> m(std::aligned_alloc(size_t{2} << 20, kMemory),
                                             std::free);
    madvise(m.get(), kMemory, MADV_HUGEPAGE);
    // Bytes that are harmless numbers in every type.
    std::minstd_rand rng(1);
    for (size_t i = 0; i < kMemory / 4; ++i) {
      static_cast<uint32_t*>(m.get())[i] = 0x3f003f00u | (rng() & 0x007f007fu);
    }
    return m;
  }();
  const std::vector<float> scale(kSize, 1e-3f);
  std::vector<float> frame(2 * kSize, 0.5f);
  const bool scaled = dtype == DType::i16 || dtype == DType::i8;
  const FlushDenormals flush;
  size_t at = 0;
  for (auto _ : state) {
    const Linear op{{static_cast<const char*>(memory.get()) + at, scaled ? scale.data() : nullptr,
                     kSize, kSize, dtype, Layout::panel},
                    nullptr,
                    0,
                    kSize,
                    false};
    Run(table, op, frame.data(), {0, Units(op)});
    at = (at + bytes) % kMemory;
  }
  state.SetBytesProcessed(static_cast<int64_t>(bytes * state.iterations()));
  state.counters["limit_GBs"] =
      static_cast<double>(kMemory) / 1e3 / StreamLimitMicros(kMemory, 0, table.name, 3);
}

// The large matrices of a README step, in every type, out of a working set of that step's size.
void SmallLinear(benchmark::State& state, const Kernels<float>& table, DType dtype, uint32_t rows,
                 uint32_t cols) {
  const size_t bytes = size_t{rows} * cols * ElementBytes(dtype);
  const size_t set = size_t{3} * 1024 * 1024 / 4 * ElementBytes(dtype) / bytes * bytes;
  const Arena arena(size_t{4} << 20, std::in_place);
  const std::vector<float> scale(rows, 1e-3f);
  std::vector<float> frame(rows + cols + 64, 0.5f);
  const bool scaled = dtype == DType::i16 || dtype == DType::i8;
  const FlushDenormals flush;
  size_t at = 0;
  for (auto _ : state) {
    const Linear op{
        {arena.data() + at, scaled ? scale.data() : nullptr, rows, cols, dtype, Layout::panel},
        nullptr,
        0,
        cols,
        false};
    Run(table, op, frame.data());
    at = (at + bytes) % set;
  }
  state.SetBytesProcessed(static_cast<int64_t>(bytes * state.iterations()));
}

void Register() {
  for (const char* const* name = CpuKernelNames(); *name; ++name) {
    const Kernels<float>& table = *FindCpuKernels<float>(*name);
    benchmark::RegisterBenchmark((std::string("Step/") + *name).c_str(), WholeStep, table)
        ->Unit(benchmark::kMicrosecond);
    for (const auto& [type, type_name] : {std::pair(DType::f32, "f32"),
                                          {DType::i16, "i16"},
                                          {DType::bf16, "bf16"},
                                          {DType::i8, "i8"}}) {
      benchmark::RegisterBenchmark(
          (std::string("Large/") + *name + "/linear " + type_name + " 4096x4096").c_str(),
          LargeLinear, table, type)
          ->Unit(benchmark::kMillisecond);
      for (const auto& [rows, cols] : {std::pair(512u, 128u), {128u, 256u}}) {
        benchmark::RegisterBenchmark((std::string("Small/") + *name + "/linear " + type_name + " " +
                                      std::to_string(rows) + "x" + std::to_string(cols))
                                         .c_str(),
                                     SmallLinear, table, type, rows, cols)
            ->Unit(benchmark::kMicrosecond);
      }
    }
    std::vector<std::string> kinds;
    for (const Step::Named& n : ReadmeStep().ops) {
      if (std::find(kinds.begin(), kinds.end(), n.name) != kinds.end()) continue;
      kinds.push_back(n.name);
      benchmark::RegisterBenchmark((std::string("Op/") + *name + "/" + n.name).c_str(), OneKind,
                                   table, n.name)
          ->UseManualTime()
          ->Iterations(3000)
          ->Unit(benchmark::kMicrosecond);
      benchmark::RegisterBenchmark((std::string("Many/") + *name + "/" + n.name).c_str(),
                                   ManyOfOneKind, table, n.name)
          ->UseManualTime()
          ->Iterations(100)
          ->Unit(benchmark::kMicrosecond);
    }
    benchmark::RegisterBenchmark((std::string("Sequence/") + *name + "/mlstm_cell 4x64x64").c_str(),
                                 SequenceOfCells, table)
        ->UseManualTime()
        ->Iterations(1000)
        ->Unit(benchmark::kMicrosecond);
  }
}

}  // namespace
}  // namespace xst::kernels

int main(int argc, char** argv) {
  xst::kernels::Register();
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
