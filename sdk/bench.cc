#include "sdk/bench.h"

#include <unistd.h>

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

using kernels::Region;

constexpr uint64_t kLargest = uint64_t{1} << 30;
constexpr uint64_t kLine = 64;
// What a cache may hold, where the system does not tell or tells of one that several share.
constexpr size_t kLeastCache = size_t{32} << 20, kMostCache = size_t{128} << 20;

uint64_t Total(const std::vector<Region>& regions) {
  uint64_t bytes = 0;
  for (const Region& r : regions) bytes += r.bytes;
  return bytes;
}

// The weights a step reads, in the order of the file, which is the step's; what lies together is
// one region.
std::vector<Region> Weights(const ModelCore& core) {
  std::vector<Region> regions;
  const auto add = [&](const void* data, uint64_t bytes) {
    if (!data || bytes == 0) return;
    const auto* from = static_cast<const std::byte*>(data);
    if (!regions.empty()) {
      Region& last = regions.back();
      const auto* begin = static_cast<const std::byte*>(last.data);
      const std::byte* end = begin + last.bytes;
      if (from >= end && from < end + kLine) {  // no more than padding between them
        last.bytes = static_cast<size_t>(from - begin) + bytes;
        return;
      }
    }
    regions.push_back({from, bytes});
  };
  for (const formats::StoredTensor& t : core.directory.tensors) {
    const uint64_t bytes = core.StepBytes(t);
    add(t.data, std::min<uint64_t>(t.length, bytes));
    if (bytes > t.length) add(t.scale, bytes - t.length);
  }
  return regions;
}

// Bytes [begin, end) of `regions` in a row.
std::vector<Region> Cut(const std::vector<Region>& regions, uint64_t begin, uint64_t end) {
  std::vector<Region> cut;
  uint64_t at = 0;
  for (const Region& r : regions) {
    const uint64_t from = std::max(begin, at), to = std::min(end, at + r.bytes);
    if (from < to) cut.push_back({static_cast<const std::byte*>(r.data) + (from - at), to - from});
    at += r.bytes;
  }
  return cut;
}

// Where the `i`-th of `n` shares of `bytes` begins.
uint64_t ShareBegin(uint64_t bytes, uint64_t i, uint64_t n) {
  return i == n ? bytes : bytes / n * i / kLine * kLine;
}

size_t EvictingBytes() {
  const long last_level = sysconf(_SC_LEVEL3_CACHE_SIZE);
  const size_t bytes = last_level > 0 ? static_cast<size_t>(last_level) : 0;
  return 2 * std::clamp(bytes, kLeastCache, kMostCache);
}

}  // namespace

struct LimitMeter::Traffic {
  struct alignas(128) Share {  // of a thread
    std::vector<Region> weights;
    std::span<float> state;
    double micros = 0;
    unsigned read = 0;  // of all it read
  };

  std::shared_ptr<const Model> model;
  kernels::MemoryPass pass = nullptr;  // null: no limit
  Memory memory, other;
  std::vector<Share> shares;
  double scale = 1;

  // job(share) on the thread of each share.
  template <class F>
  bool RunOnEach(F job) {
    if (!pass) return false;
    const kernels::FlushDenormals flush;
    if (shares.size() == 1) {
      job(shares[0]);
      return true;
    }
    struct Call {
      std::vector<Share>& shares;
      F& job;
    } call{shares, job};
    const auto run = [](Team&, uint32_t member, void* arg) {
      const auto* c = static_cast<const Call*>(arg);
      c->job(c->shares[member]);
    };
    return model->core().team->Run(run, &call, true);
  }
};

LimitMeter::LimitMeter(std::shared_ptr<const Model> model, uint32_t streams)
    : traffic_(std::make_unique<Traffic>()) {
  const ModelCore& core = model->core();
  Traffic& t = *traffic_;
  t.model = std::move(model);
  if (core.on_reference() || core.device_model) return;
  t.pass = kernels::FindMemoryPass(core.info.isa.c_str());
  const std::vector<Region> all = Weights(core);
  const uint64_t state_bytes = core.info.state_bytes * streams;
  const uint64_t total = std::max<uint64_t>(Total(all) + state_bytes, 1);
  t.scale = std::max(1.0, static_cast<double>(total) / static_cast<double>(kLargest));
  const auto part = [&](uint64_t bytes) {
    return static_cast<uint64_t>(static_cast<double>(bytes) / t.scale);
  };

  // As much as the streams', as the size decides on the pages.
  const uint64_t memory_bytes =
      streams == 1 ? core.info.session_bytes : OddLines(core.info.session_bytes) * streams;
  Fault fault;
  if (Memory::Allocate(std::max(part(memory_bytes), part(state_bytes)), &t.memory, &fault) !=
      Status::ok) {
    throw Error(fault);
  }
  const std::span<float> state(reinterpret_cast<float*>(t.memory.bytes().data()),
                               part(state_bytes) / sizeof(float));
  std::minstd_rand rng(1);
  std::uniform_real_distribution<float> u(-0.5f, 0.5f);
  for (float& v : state) v = u(rng);

  const size_t threads = core.team && streams == 1 ? core.team->members() : 1;
  t.shares.resize(threads);
  for (size_t i = 0; i < threads; ++i) {
    const auto begin = [&](uint64_t bytes) { return ShareBegin(bytes, i, threads); };
    const auto end = [&](uint64_t bytes) { return ShareBegin(bytes, i + 1, threads); };
    const uint64_t read = part(Total(all)), changed = state.size_bytes();
    t.shares[i].weights = Cut(all, begin(read), end(read));
    t.shares[i].state = state.subspan(begin(changed) / sizeof(float),
                                      (end(changed) - begin(changed)) / sizeof(float));
  }
}

LimitMeter::~LimitMeter() = default;
LimitMeter::LimitMeter(LimitMeter&&) noexcept = default;
LimitMeter& LimitMeter::operator=(LimitMeter&&) noexcept = default;

double LimitMeter::Micros() noexcept {
  Traffic& t = *traffic_;
  const bool done = t.RunOnEach([&](Traffic::Share& share) {
    const auto start = std::chrono::steady_clock::now();
    share.read = t.pass(share.weights, share.state);
    share.micros =
        std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - start).count();
  });
  if (!done) return std::numeric_limits<double>::quiet_NaN();
  double slowest = 0;
  for (const Traffic::Share& share : t.shares) slowest = std::max(slowest, share.micros);
  return slowest * t.scale;
}

bool LimitMeter::Evict() noexcept {
  Traffic& t = *traffic_;
  Fault fault;
  if (!t.pass) return false;
  if (t.other.bytes().empty() &&
      Memory::Allocate(EvictingBytes(), &t.other, &fault) != Status::ok) {
    return false;
  }
  const Region other = {t.other.bytes().data(), t.other.bytes().size()};
  return t.RunOnEach([&](Traffic::Share& share) { share.read = t.pass({&other, 1}, {}); });
}

int CallerCpu(const Model& model) { return model.core().team ? model.core().team->home() : -1; }

}  // namespace xst
