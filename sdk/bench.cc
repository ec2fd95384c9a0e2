#include "sdk/bench.h"

#include <algorithm>
#include <chrono>
#include <limits>
#include <random>
#include <vector>

#include "kernels/memory_probe.h"
#include "sdk/memory.h"
#include "sdk/model_core.h"

namespace xst {
namespace {

constexpr uint64_t kLargest = uint64_t{1} << 30;

// The weights a step reads, in the order of the file, which is the step's; what lies together is
// one region.
std::vector<kernels::Region> Weights(const ModelCore& core) {
  std::vector<kernels::Region> regions;
  uint64_t total = 0;
  const auto add = [&](const void* data, uint64_t bytes) {
    bytes = std::min(bytes, kLargest - total);
    if (!data || bytes == 0) return;
    total += bytes;
    const auto* from = static_cast<const std::byte*>(data);
    if (!regions.empty()) {
      kernels::Region& last = regions.back();
      const auto* begin = static_cast<const std::byte*>(last.data);
      const std::byte* end = begin + last.bytes;
      if (from >= end && from < end + 64) {  // no more than padding between them
        last.bytes = static_cast<size_t>(from - begin) + bytes;
        return;
      }
    }
    regions.push_back({from, bytes});
  };
  for (const formats::StoredTensor& t : core.directory.tensors) {
    const uint64_t share = core.StepBytes(t);
    add(t.data, std::min<uint64_t>(t.length, share));
    if (share > t.length) add(t.scale, share - t.length);
  }
  return regions;
}

}  // namespace

struct LimitMeter::Traffic {
  std::shared_ptr<const Model> model;
  kernels::MemoryPass pass = nullptr;
  std::vector<kernels::Region> weights;
  Memory memory;
  std::span<float> state;
  double scale = 1;
  volatile unsigned sink = 0;
};

LimitMeter::LimitMeter(std::shared_ptr<const Model> model) : traffic_(std::make_unique<Traffic>()) {
  const ModelCore& core = model->core();
  Traffic& t = *traffic_;
  t.model = std::move(model);
  if (core.on_reference() || core.device_model) return;
  t.pass = kernels::FindMemoryPass(core.info.isa.c_str());
  t.weights = Weights(core);
  uint64_t read = 0;
  for (const kernels::Region& region : t.weights) read += region.bytes;
  if (core.info.weight_bytes > kLargest) {
    t.scale = static_cast<double>(core.info.weight_bytes) / static_cast<double>(read);
  }
  const size_t state_bytes = core.info.state_bytes;
  Fault fault;
  const size_t bytes = std::max<size_t>(core.info.session_bytes, state_bytes);
  if (Memory::Allocate(bytes, &t.memory, &fault) != Status::ok) throw Error(fault);
  t.state = {reinterpret_cast<float*>(t.memory.bytes().data()), state_bytes / sizeof(float)};
  std::minstd_rand rng(1);
  std::uniform_real_distribution<float> u(-0.5f, 0.5f);
  for (float& v : t.state) v = u(rng);
}

LimitMeter::~LimitMeter() = default;
LimitMeter::LimitMeter(LimitMeter&&) noexcept = default;

double LimitMeter::Micros() {
  Traffic& t = *traffic_;
  if (!t.pass) return std::numeric_limits<double>::quiet_NaN();
  const kernels::FlushDenormals flush;
  const auto start = std::chrono::steady_clock::now();
  t.sink = t.sink + t.pass(t.weights, t.state);
  const std::chrono::duration<double, std::micro> time = std::chrono::steady_clock::now() - start;
  return time.count() * t.scale;
}

}  // namespace xst
