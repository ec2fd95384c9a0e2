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

// Sums of eight vectors in flight hide the latency of an addition. Sizes are multiples of those.
float Pass(const float* weights, size_t weight_count, float* state, size_t state_count) {
  V sums[8];
  HWY_UNROLL(8)
  for (size_t i = 0; i < 8; ++i) sums[i] = hn::Zero(D());
  for (size_t at = 0; at < weight_count; at += 8 * kLanes) {
    HWY_UNROLL(8)
    for (size_t i = 0; i < 8; ++i) {
      sums[i] = hn::Add(sums[i], hn::Load(D(), weights + at + i * kLanes));
    }
  }
  const V decay = Splat(0.9375f), input = Splat(0.03125f);
  for (size_t at = 0; at < state_count; at += 8 * kLanes) {
    HWY_UNROLL(8)
    for (size_t i = 0; i < 8; ++i) {
      float* p = state + at + i * kLanes;
      hn::Store(hn::MulAdd(decay, hn::Load(D(), p), input), D(), p);
    }
  }
  V sum = sums[0];
  for (size_t i = 1; i < 8; ++i) sum = hn::Add(sum, sums[i]);
  return Sum(sum);
}

}  // namespace xst::kernels::XST_ARITHMETIC::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace xst::kernels {
namespace {

constexpr size_t kHugePage = size_t{2} << 20;
constexpr size_t kPassFloats = 8 * kUnit;
constexpr size_t kLargest = size_t{1} << 30;  // bytes; beyond every cache time grows with size

using PassFunction = float (*)(const float*, size_t, float*, size_t);

PassFunction FindPass(const char* isa_name) {
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

size_t CountFor(size_t bytes) {
  return (bytes / sizeof(float) + kPassFloats - 1) / kPassFloats * kPassFloats;
}

}  // namespace

double StreamLimitMicros(size_t weight_bytes, size_t state_bytes, const char* isa_name,
                         int passes) {
  const PassFunction pass = FindPass(isa_name);
  if (!pass) return -1;
  const size_t total = std::max<size_t>(weight_bytes + state_bytes, 1);
  const double share = std::min(1.0, static_cast<double>(kLargest) / static_cast<double>(total));
  const auto part = [&](size_t n) {
    return CountFor(static_cast<size_t>(static_cast<double>(n) * share));
  };
  const size_t weights = part(weight_bytes), state = part(state_bytes);
  const size_t bytes = ((weights + state) * sizeof(float) + kHugePage) / kHugePage * kHugePage;
  const std::unique_ptr<void, void (*)(void*)> memory(std::aligned_alloc(kHugePage, bytes),
                                                      std::free);
  if (!memory) return -1;
  madvise(memory.get(), bytes, MADV_HUGEPAGE);
  float* data = static_cast<float*>(memory.get());
  std::minstd_rand rng(1);
  for (size_t i = 0; i < weights + state; ++i) {
    data[i] = static_cast<float>(rng()) / static_cast<float>(std::minstd_rand::max()) - 0.5f;
  }

  const FlushDenormals flush;
  volatile float sink = 0;
  std::vector<double> micros;
  for (int i = -2; i < passes; ++i) {  // two to warm up
    const auto start = std::chrono::steady_clock::now();
    sink = sink + pass(data, weights, data + weights, state);
    const std::chrono::duration<double, std::micro> time = std::chrono::steady_clock::now() - start;
    if (i >= 0) micros.push_back(time.count());
  }
  if (micros.empty()) return -1;
  const auto median = micros.begin() + static_cast<ptrdiff_t>(micros.size() / 2);
  std::nth_element(micros.begin(), median, micros.end());
  return *median / share;
}

}  // namespace xst::kernels
#endif  // HWY_ONCE
