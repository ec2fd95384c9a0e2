// Fixed log-linear histogram of durations: one thread records, any thread reads.
#pragma once

#include <array>
#include <atomic>
#include <bit>
#include <cstdint>

namespace xst::stream {

// Buckets are 1/32 of a power of two wide: a quantile is within 1.6 % of the true value. The
// largest is exact.
class Histogram {
 public:
  // One thread at a time; no allocation, no lock.
  void Record(int64_t ns) noexcept {
    const uint64_t v = ns > 0 ? static_cast<uint64_t>(ns) : 0;
    // The largest first: a reader that sees the record in its bucket sees it there too.
    if (v > max_.load(std::memory_order_relaxed)) max_.store(v, std::memory_order_relaxed);
    auto& bucket = counts_[Index(v)];
    bucket.store(bucket.load(std::memory_order_relaxed) + 1, std::memory_order_release);
    count_.store(count_.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
  }

  uint64_t count() const noexcept { return count_.load(std::memory_order_relaxed); }
  uint64_t max_ns() const noexcept { return max_.load(std::memory_order_relaxed); }

  // q in [0, 1]; nanoseconds, 0 without records.
  double Quantile(double q) const noexcept {
    uint64_t total = 0;
    for (const auto& c : counts_) total += c.load(std::memory_order_acquire);
    if (total == 0) return 0;
    const auto rank = static_cast<uint64_t>(q * static_cast<double>(total - 1));
    uint64_t seen = 0;
    for (uint32_t i = 0; i < kBuckets; ++i) {
      seen += counts_[i].load(std::memory_order_relaxed);
      if (seen > rank) {
        const double middle = 0.5 * (Lower(i) + Lower(i + 1) - 1);
        const auto largest = static_cast<double>(max_ns());
        return middle < largest ? middle : largest;
      }
    }
    return static_cast<double>(max_ns());
  }

  // Calls f(lower, upper, count) for every bucket that holds records, in rising order; nanoseconds,
  // lower <= value < upper.
  template <class F>
  void ForEach(F f) const {
    for (uint32_t i = 0; i < kBuckets; ++i) {
      const uint64_t count = counts_[i].load(std::memory_order_acquire);
      if (count > 0) f(Lower(i), Lower(i + 1), count);
    }
  }

 private:
  static constexpr uint32_t kSub = 32, kOctaves = 42;  // up to 2^47 ns: 39 hours
  static constexpr uint32_t kBuckets = kSub * (kOctaves + 1);

  static uint32_t Index(uint64_t v) {
    if (v < kSub) return static_cast<uint32_t>(v);
    const auto shift = static_cast<uint32_t>(std::bit_width(v)) - 6;
    const uint64_t i = uint64_t{kSub} * (shift + 1) + ((v >> shift) - kSub);
    return i < kBuckets ? static_cast<uint32_t>(i) : kBuckets - 1;
  }
  static double Lower(uint32_t i) {
    if (i < kSub) return i;
    return static_cast<double>(uint64_t{kSub + i % kSub} << (i / kSub - 1));
  }

  std::array<std::atomic<uint64_t>, kBuckets> counts_{};
  std::atomic<uint64_t> count_{0}, max_{0};
};

}  // namespace xst::stream
