#include "sdk/minimal/arena.h"

#include <setjmp.h>

#include <algorithm>
#include <new>

namespace xst {
namespace {

// Of the call of RunInArena under way.
struct Opening {
  Arena* arena;
  bool keep = false;
  jmp_buf full;
};
Opening* opening = nullptr;

// Of what operator new gives, as malloc's.
constexpr size_t kNewAlign = 2 * sizeof(void*);
constexpr size_t Rounded(size_t bytes) { return (bytes + kNewAlign - 1) / kNewAlign * kNewAlign; }

[[noreturn]] void LeaveFull() {
  if (opening) longjmp(opening->full, 1);
  __builtin_trap();  // nothing else in this library allocates
}

}  // namespace

Arena::Arena(void* memory, size_t bytes) : given_(bytes) {
  const auto at = reinterpret_cast<uintptr_t>(memory);
  begin_ = (at + kAlign - 1) / kAlign * kAlign;
  end_ = std::max((at + bytes) / kAlign * kAlign, begin_);
  front_ = begin_;
  back_ = end_;
}

void Arena::Took() { enough_ = std::max<size_t>(enough_, front_ - begin_ + end_ - back_); }

void* Arena::TakeFront(size_t bytes, size_t align) {
  const uintptr_t at = (front_ + align - 1) / align * align;
  if (at > back_ || bytes > back_ - at) return nullptr;
  front_ = at + bytes;
  Took();
  return reinterpret_cast<void*>(at);
}

void* Arena::TakeBack(size_t bytes) {
  const size_t whole = Rounded(bytes);
  if (whole < bytes || whole > back_ - front_) return nullptr;
  back_ -= whole;
  Took();
  return reinterpret_cast<void*>(back_);
}

void Arena::GiveBack(const void* at, size_t bytes) {
  const auto from = reinterpret_cast<uintptr_t>(at);
  if (from == back_) back_ += Rounded(bytes);
}

bool RunInArena(Arena* arena, void (*f)(void*), void* arg) {
  Opening own = {.arena = arena, .keep = false, .full = {}};
  opening = &own;
  const bool done = setjmp(own.full) == 0;
  if (done) f(arg);
  opening = nullptr;
  arena->ClearBack();
  return done;
}

void KeepNew() { opening->keep = true; }

}  // namespace xst

// What the containers of this library want of C++'s own; hidden in its one object.
void* operator new(size_t bytes) {
  if (!xst::opening) xst::LeaveFull();
  xst::Arena& arena = *xst::opening->arena;
  void* const at =
      xst::opening->keep ? arena.TakeFront(bytes, xst::kNewAlign) : arena.TakeBack(bytes);
  if (!at) xst::LeaveFull();
  return at;
}
void operator delete(void*) noexcept {}
void operator delete(void* at, size_t bytes) noexcept {
  if (xst::opening && at) xst::opening->arena->GiveBack(at, bytes);
}

namespace std {
void __throw_bad_alloc() { xst::LeaveFull(); }
void __throw_bad_array_new_length() { xst::LeaveFull(); }
void __throw_length_error(const char*) { xst::LeaveFull(); }
void __throw_logic_error(const char*) { xst::LeaveFull(); }
void __throw_out_of_range(const char*) { xst::LeaveFull(); }
void __throw_out_of_range_fmt(const char*, ...) { xst::LeaveFull(); }
}  // namespace std
extern "C" [[noreturn]] void __cxa_pure_virtual() { __builtin_trap(); }
