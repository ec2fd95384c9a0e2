// Runs one op on a table and on the reference, on frames whose arrays lie at any alignment between
// guards of NaN.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <random>
#include <string>
#include <vector>

#include "kernels/kernels.h"
#include "kernels/touches.h"
#ifdef XST_CUDA_TESTS
#include "tests/unit/cuda/cuda_table.h"
#endif

namespace xst::kernels {

// What runs whole ops on frames of floats, in memory of its own.
struct DeviceTable {
  const char* name;
  void (*run)(const Op&, std::vector<float>& frame);
  std::string (*unavailable)();  // why it cannot run here; empty: it can
};

// A CPU table of either arithmetic, or a device's, on frames of floats.
class Table {
 public:
  explicit Table(const Kernels<float>& k) : single_(&k), name_(Name(k)) {}
  explicit Table(const Kernels<double>& k) : wide_(&k), name_(Name(k)) {}
  explicit Table(const DeviceTable& d) : device_(&d), name_(d.name) {}

  const std::string& name() const { return name_; }
  bool splits() const { return !device_; }  // takes any range of units
  // What a CPU table runs batches and sequences with.
  const Kernels<float>* single() const { return single_; }
  const Kernels<double>* wide() const { return wide_; }
  std::string unavailable() const { return device_ ? device_->unavailable() : ""; }
  void Run(const Op& op, std::vector<float>& frame, Range r) const {
    if (single_) return kernels::Run(*single_, op, frame.data(), r);
    if (device_) {
      ASSERT_TRUE(r.begin == 0 && r.end == Units(op)) << name_ << " runs whole ops only";
      return device_->run(op, frame);
    }
    std::vector<double> wide(frame.begin(), frame.end());
    kernels::Run(*wide_, op, wide.data(), r);
    std::transform(wide.begin(), wide.end(), frame.begin(),
                   [](double v) { return static_cast<float>(v); });
  }

 private:
  template <class T>
  static std::string Name(const Kernels<T>& k) {
    return std::string(k.name) + "_" + k.arithmetic;
  }

  const Kernels<float>* single_ = nullptr;
  const Kernels<double>* wide_ = nullptr;
  const DeviceTable* device_ = nullptr;
  std::string name_;
};

inline void PrintTo(const Table& t, std::ostream* os) { *os << t.name(); }

// A suite is built for the CPU's tables, or for those of CUDA whether a device is there or not.
inline std::vector<Table> AllTables() {
  std::vector<Table> tables;
#ifdef XST_CUDA_TESTS
  tables.emplace_back(cuda::kSingleTable);
  tables.emplace_back(cuda::kWideTable);
#else
  for (const char* const* name = CpuKernelNames(); *name; ++name) {
    tables.emplace_back(*FindCpuKernels<float>(*name));
    tables.emplace_back(*FindCpuKernels<double>(*name));
  }
#endif
  return tables;
}

// A test that runs once for each table this machine has.
class OpTest : public testing::TestWithParam<Table> {
 protected:
  Table table() const { return GetParam(); }
  std::mt19937 rng{20261123};

  void SetUp() override {
    if (const std::string why = table().unavailable(); !why.empty()) GTEST_SKIP() << why;
  }

  // testing::Test has a Run of its own, which hides the one of the namespace.
  static void Run(const Table& table, const Op& op, std::vector<float>& frame, Range r) {
    table.Run(op, frame, r);
  }
  static void Run(const Kernels<double>& reference, const Op& op, double* frame, Range r) {
    kernels::Run(reference, op, frame, r);
  }

  std::vector<float> Random(size_t n, float low = -1, float high = 1) {
    std::uniform_real_distribution<float> u(low, high);
    std::vector<float> v(n);
    for (float& x : v) x = u(rng);
    return v;
  }
};

#define XST_OP_TEST_SUITE(Suite)                                                    \
  INSTANTIATE_TEST_SUITE_P(, Suite, testing::ValuesIn(::xst::kernels::AllTables()), \
                           [](const auto& i) { return i.param.name(); })

// Whether element i of the frame is state of the op.
inline std::vector<bool> StateOf(Op op, size_t size) {
  std::vector<Slot> slots;
  if (const auto* o = std::get_if<Conv>(&op)) slots = {o->history};
  if (const auto* o = std::get_if<MlstmCell>(&op)) slots = {o->c, o->n, o->m};
  if (const auto* o = std::get_if<SlstmCell>(&op)) slots = {o->y, o->c, o->n, o->m};
  if (const auto* o = std::get_if<SlstmOut>(&op)) slots = {o->y};
  std::vector<bool> state(size, false);
  for (const ArrayUse& use : ArrayUses(0, &op)) {
    if (std::find(slots.begin(), slots.end(), *use.slot) == slots.end()) continue;
    std::fill(state.begin() + use.begin, state.begin() + use.end, true);
  }
  return state;
}

// Runs `count` frames like `before` as one batch, with their state in arrays of their own; each
// must get the bits that it gets alone.
template <class T>
void CheckBatch(const Kernels<T>& table, const Op& op, const std::vector<float>& before,
                size_t count) {
  SCOPED_TRACE("batch of " + std::to_string(count));
  const auto state = StateOf(op, before.size());
  const uint32_t units = Units(op);
  std::vector<std::vector<T>> alone, frames, states;
  std::vector<T*> frame_pointers, state_pointers;
  for (size_t i = 0; i < count; ++i) {
    std::vector<T> v(before.begin(), before.end());
    for (T& x : v) x *= 1 - static_cast<T>(i) / 64;
    auto frame = v, apart = v;
    for (size_t k = 0; k < v.size(); ++k) (state[k] ? frame[k] : apart[k]) = -123;
    Run(table, op, v.data(), {0, units});
    alone.push_back(v), frames.push_back(frame), states.push_back(apart);
  }
  for (size_t i = 0; i < count; ++i) {
    frame_pointers.push_back(frames[i].data());
    state_pointers.push_back(states[i].data());
  }
  const Batch<T> batch{frame_pointers.data(), state_pointers.data(), count};
  const uint32_t middle = static_cast<uint32_t>(count) % units;
  Run(table, op, batch, {middle, units});
  if (middle > 0) Run(table, op, batch, {0, middle});
  for (size_t i = 0; i < count; ++i) {
    for (size_t k = 0; k < before.size(); ++k) {
      const T got = state[k] ? states[i][k] : frames[i][k], want = alone[i][k];
      const T other = state[k] ? frames[i][k] : states[i][k];
      const bool same = got == want || (std::isnan(got) && std::isnan(want));
      ASSERT_TRUE(same && other == -123) << "frame " << i << " element " << k << ": " << got
                                         << " in a batch, " << want << " alone";
    }
  }
}

// An array in memory that is aligned as the model's weights are.
class Aligned {
 public:
  explicit Aligned(const std::vector<float>& v) : v_(v.size() + 32) {
    while ((reinterpret_cast<uintptr_t>(v_.data() + at_) & 63) != 0) ++at_;
    std::copy(v.begin(), v.end(), v_.begin() + at_);
  }
  Aligned(const Aligned&) = delete;
  const float* data() const { return v_.data() + at_; }

 private:
  std::vector<float> v_;
  size_t at_ = 0;
};

// A frame under construction: equal content in single and double precision.
class Frame {
 public:
  explicit Frame(uint32_t misalignment = 0) : misalignment_(misalignment) { Guard(); }

  // Where the array lies. All of it may be written by the op.
  Slot Add(const std::vector<float>& v) {
    const Slot at = static_cast<Slot>(f.size());
    f.insert(f.end(), v.begin(), v.end());
    written_.resize(f.size(), true);
    Guard();
    return at;
  }
  // The same for an array the op may only read.
  Slot AddInput(const std::vector<float>& v) {
    const Slot at = Add(v);
    std::fill(written_.begin() + at, written_.begin() + at + static_cast<long>(v.size()), false);
    return at;
  }
  // An output of n elements, NaN so far.
  Slot AddOutput(size_t n) { return Add(std::vector<float>(n, kNaN)); }

  // Runs the op on both, and on the table once more and, if it splits, in every two parts too,
  // which must give equal bits. Every element that may be written must be within `tolerance` of the
  // reference, relative to the larger of 1 and the reference, and nothing else may have changed.
  void Check(const Op& op, const Table& table, double tolerance, const std::string& what = "") {
    SCOPED_TRACE(what + " misalignment " + std::to_string(misalignment_));
    const std::vector<float> before = f;
    std::vector<double> d(before.begin(), before.end());
    const uint32_t units = Units(op);
    Run(ReferenceKernels(), op, d.data(), {0, units});
    table.Run(op, f, {0, units});
    size_t bad = 0;
    for (size_t i = 0; i < f.size() && bad < 5; ++i) {
      if (!written_[i] || (std::isnan(before[i]) && std::isnan(d[i]))) {
        if (!SameBits(f[i], before[i])) {
          ++bad;
          ADD_FAILURE() << "element " << i << " was overwritten with " << f[i];
        }
      } else if (!(std::abs(f[i] - d[i]) <= tolerance * std::max(1.0, std::abs(d[i])))) {
        ++bad;
        ADD_FAILURE() << "element " << i << ": expected " << d[i] << ", got " << f[i] << ", error "
                      << f[i] - d[i];
      }
    }
    const uint32_t step = units < 20 ? 1 : units / 7;
    for (uint32_t a = 1; table.splits() && a < units; a += step) {
      std::vector<float> parts = before;
      table.Run(op, parts, {a, units});
      table.Run(op, parts, {0, a});
      ASSERT_TRUE(Same(parts)) << "units split at " << a << " of " << units;
    }
    std::vector<float> again = before;
    table.Run(op, again, {0, units});
    ASSERT_TRUE(Same(again)) << "another run gave other bits";
    // Sizes of a batch in turn, among them one of more than a chunk.
    static size_t batches = 0;
    const size_t count = ++batches % 64 == 0 ? 33 : 1 + batches % 13;
    if (table.single()) CheckBatch(*table.single(), op, before, count);
    if (table.wide()) CheckBatch(*table.wide(), op, before, count);
  }

  bool Same(const std::vector<float>& other) const {
    return std::equal(f.begin(), f.end(), other.begin(), other.end(), SameBits);
  }

  std::vector<float> f;

 private:
  static constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

  static bool SameBits(float a, float b) {
    return std::bit_cast<uint32_t>(a) == std::bit_cast<uint32_t>(b);
  }

  // NaN up to the next array, which lies `misalignment` elements off a vector.
  void Guard() {
    f.resize((f.size() + 16 + 15) / 16 * 16 + misalignment_, kNaN);
    written_.resize(f.size(), false);
  }

  uint32_t misalignment_;
  std::vector<bool> written_;
};

// Sizes up to twice the widest vector and a tail.
inline std::vector<uint32_t> Sizes() {
  std::vector<uint32_t> sizes;
  for (uint32_t n = 1; n <= 37; ++n) sizes.push_back(n);
  return sizes;
}

}  // namespace xst::kernels
