// A caller's memory as a minimal build uses it: what stays is taken from the front, what is needed
// while a model is opened from the back.
#pragma once

#include <cstddef>
#include <cstdint>

namespace xst {

class Arena {
 public:
  static constexpr size_t kAlign = 64;

  // The part of the memory between boundaries of kAlign bytes.
  Arena(void* memory, size_t bytes);

  // Null where nothing is left.
  void* TakeFront(size_t bytes, size_t align = kAlign);
  void* TakeBack(size_t bytes);
  // Gives bytes back if they were the last ones taken from that end.
  void GiveBack(const void* at, size_t bytes);
  // All that was taken from the back is gone.
  void ClearBack() { back_ = end_; }

  // With what aligns the next.
  size_t front_bytes() const { return (front_ - begin_ + kAlign - 1) / kAlign * kAlign; }
  // The size of a memory that would have been enough so far, wherever it began.
  size_t enough() const { return AnywhereFor(enough_); }
  size_t given() const { return given_; }
  // The size of a memory that has `bytes` between boundaries wherever it begins.
  static constexpr uint64_t AnywhereFor(uint64_t bytes) {
    return (bytes + kAlign - 1) / kAlign * kAlign + kAlign - 1;
  }

 private:
  size_t given_;
  uintptr_t begin_, end_, front_, back_;
  size_t enough_ = 0;

  void Took();
};

// Runs f(arg) with operator new on `arena`, from its back until KeepNew. False if the arena did not
// hold it: f was then left in the middle, and nothing it made is destroyed. One at a time in a
// process; everything f allocates must be gone, or live in the arena for good, when it returns.
bool RunInArena(Arena* arena, void (*f)(void* arg), void* arg);
// From here on operator new takes what stays.
void KeepNew();

}  // namespace xst
