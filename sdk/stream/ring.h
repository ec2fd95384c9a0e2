// Bounded lock-free ring between two threads: records of one head and `width` floats.
//
// One producer, one consumer. Each cell carries a turn: pos = free for the push number pos, pos + 1
// = holds it, pos + capacity = free again. The consumer claims a cell by advancing `head_`; so may
// the producer, to drop the oldest. Who claimed a cell owns it: no torn reads, no locks. All memory
// is allocated (and touched) at construction.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

namespace xst::stream {

template <class Head>
class Ring {
 public:
  // At least 2 records are kept: with one the turns of full and free would be the same number.
  Ring(size_t capacity, size_t width)
      : capacity_(std::max<size_t>(capacity, 2)),
        width_(width),
        cells_(std::make_unique<Cell[]>(capacity_)),
        values_(capacity_ * width) {
    for (size_t i = 0; i < capacity_; ++i) cells_[i].turn.store(i, std::memory_order_relaxed);
  }

  size_t capacity() const { return capacity_; }

  // Producer. Room that is there stays until the next Push.
  bool HasRoom() const noexcept {
    const uint64_t tail = tail_.load(std::memory_order_relaxed);
    return cells_[tail % capacity_].turn.load(std::memory_order_seq_cst) == tail;
  }

  // Producer. `a` followed by `b` are the record's floats, `width` in all; false: full.
  bool Push(const Head& head, std::span<const float> a, std::span<const float> b = {}) noexcept {
    const uint64_t tail = tail_.load(std::memory_order_relaxed);
    Cell& cell = cells_[tail % capacity_];
    if (cell.turn.load(std::memory_order_acquire) != tail) return false;
    cell.head = head;
    std::copy(b.begin(), b.end(), std::copy(a.begin(), a.end(), ValuesAt(tail)));
    cell.turn.store(tail + 1, std::memory_order_release);
    tail_.store(tail + 1, std::memory_order_release);
    return true;
  }

  // Consumer. `values`: `width` floats; false: empty.
  bool Pop(Head* head, std::span<float> values) noexcept {
    uint64_t pos;
    if (!Claim(&pos)) return false;
    *head = cells_[pos % capacity_].head;
    std::copy_n(ValuesAt(pos), width_, values.begin());
    Release(pos);
    return true;
  }

  // Producer. Frees the oldest record; false: there was none.
  bool DropOldest() noexcept {
    uint64_t pos;
    if (!Claim(&pos)) return false;
    Release(pos);
    return true;
  }

  // Any thread; exact when both sides rest.
  size_t size() const noexcept {
    const uint64_t head = head_.load(std::memory_order_acquire);
    const uint64_t tail = tail_.load(std::memory_order_acquire);
    return tail > head ? static_cast<size_t>(tail - head) : 0;
  }

 private:
  struct Cell {
    std::atomic<uint64_t> turn;
    Head head;
  };

  float* ValuesAt(uint64_t pos) { return values_.data() + (pos % capacity_) * width_; }

  bool Claim(uint64_t* pos) noexcept {
    *pos = head_.load(std::memory_order_relaxed);
    for (;;) {
      const uint64_t turn = cells_[*pos % capacity_].turn.load(std::memory_order_acquire);
      if (turn == *pos + 1) {
        if (head_.compare_exchange_weak(*pos, *pos + 1, std::memory_order_acq_rel)) return true;
      } else if (turn < *pos + 1) {
        return false;
      } else {
        *pos = head_.load(std::memory_order_relaxed);
      }
    }
  }

  // seq_cst: pairs with HasRoom() in the handshake of a producer that is about to sleep.
  void Release(uint64_t pos) noexcept {
    cells_[pos % capacity_].turn.store(pos + capacity_, std::memory_order_seq_cst);
  }

  const size_t capacity_, width_;
  std::unique_ptr<Cell[]> cells_;
  std::vector<float> values_;
  alignas(64) std::atomic<uint64_t> head_{0};
  alignas(64) std::atomic<uint64_t> tail_{0};
};

}  // namespace xst::stream
