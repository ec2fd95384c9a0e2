#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/memory_probe.cc"
#include "kernels/cpu/targets.h"

#include "hwy/foreach_target.h"

#include "kernels/memory_probe.h"

#include <sys/mman.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <random>
#include <vector>

#include "kernels/cpu/lanes-inl.h"
#include "kernels/kernels.h"

HWY_BEFORE_NAMESPACE();
namespace xst::kernels::XST_ARITHMETIC::HWY_NAMESPACE {

// Eight vectors are in flight, combined in integers as they may be weights of any type.
unsigned Pass(std::span<const Region> regions, std::span<float> state) {
  const hn::RebindToSigned<D> di;
  using VI = hn::Vec<decltype(di)>;
  VI all[8];
  HWY_UNROLL(8)
  for (size_t i = 0; i < 8; ++i) all[i] = hn::Zero(di);
  for (const Region& region : regions) {
    const auto* p = static_cast<const int32_t*>(region.data);
    const size_t count = region.bytes / sizeof(int32_t);
    size_t at = 0;
    for (; at + 8 * kLanes <= count; at += 8 * kLanes) {
      HWY_UNROLL(8)
      for (size_t i = 0; i < 8; ++i) all[i] = hn::Xor(all[i], hn::LoadU(di, p + at + i * kLanes));
    }
    for (; at + kLanes <= count; at += kLanes) all[0] = hn::Xor(all[0], hn::LoadU(di, p + at));
    for (; at < count; ++at) all[1] = hn::Xor(all[1], hn::Set(di, p[at]));
  }
  const V decay = Splat(0.9375f), input = Splat(0.03125f);
  const auto update = [&](float* p, auto lanes)
                          HWY_ATTR { lanes.Store(hn::MulAdd(decay, lanes.Load(p), input), p); };
  size_t at = 0;
  for (; at + 8 * kLanes <= state.size(); at += 8 * kLanes) {
    HWY_UNROLL(8)
    for (size_t i = 0; i < 8; ++i) update(state.data() + at + i * kLanes, Full());
  }
  ForLanes(at, state.size(),
           [&](size_t i, auto lanes) HWY_ATTR { update(state.data() + i, lanes); });
  for (size_t i = 1; i < 8; ++i) all[0] = hn::Xor(all[0], all[i]);
  HWY_ALIGN int32_t lanes[kLanes];
  hn::Store(all[0], di, lanes);
  unsigned one = 0;
  for (const int32_t lane : lanes) one ^= static_cast<unsigned>(lane);
  return one;
}

}  // namespace xst::kernels::XST_ARITHMETIC::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace xst::kernels {
namespace {

constexpr size_t kHugePage = size_t{2} << 20;

}  // namespace

MemoryPass FindMemoryPass(const char* isa_name) {
  const Kernels<float>* table = FindCpuKernels<float>(isa_name);
  if (!table) return nullptr;
#if HWY_TARGETS & HWY_AVX3
  if (std::strcmp(table->name, "avx512") == 0) return single::N_AVX3::Pass;
#endif
#if HWY_TARGETS & HWY_AVX2
  if (std::strcmp(table->name, "avx2") == 0) return single::N_AVX2::Pass;
#endif
#if HWY_TARGETS & HWY_NEON
  if (std::strcmp(table->name, "neon") == 0) return single::N_NEON::Pass;
#endif
  return single::N_SCALAR::Pass;
}

double StreamLimitMicros(size_t weight_bytes, size_t state_bytes, const char* isa_name,
                         int passes) {
  const MemoryPass pass = FindMemoryPass(isa_name);
  if (!pass || passes <= 0) return -1;
  const size_t weights = (weight_bytes + 63) / 64 * 64;
  const size_t bytes = (weights + state_bytes + kHugePage) / kHugePage * kHugePage;
  const std::unique_ptr<void, void (*)(void*)> memory(std::aligned_alloc(kHugePage, bytes),
                                                      std::free);
  if (!memory) return -1;
  madvise(memory.get(), bytes, MADV_HUGEPAGE);
  float* data = static_cast<float*>(memory.get());
  std::minstd_rand rng(1);
  for (size_t i = 0; i < (weights + state_bytes) / sizeof(float); ++i) {
    data[i] = static_cast<float>(rng()) / static_cast<float>(std::minstd_rand::max()) - 0.5f;
  }

  const Region region = {data, weight_bytes};
  const std::span<float> state(data + weights / sizeof(float), state_bytes / sizeof(float));
  const FlushDenormals flush;
  volatile unsigned sink = 0;
  std::vector<double> micros;
  for (int i = -2; i < passes; ++i) {  // two to warm up
    const auto start = std::chrono::steady_clock::now();
    sink = sink + pass({&region, 1}, state);
    const std::chrono::duration<double, std::micro> time = std::chrono::steady_clock::now() - start;
    if (i >= 0) micros.push_back(time.count());
  }
  const auto median = micros.begin() + static_cast<ptrdiff_t>(micros.size() / 2);
  std::nth_element(micros.begin(), median, micros.end());
  return *median;
}

}  // namespace xst::kernels
#endif  // HWY_ONCE
