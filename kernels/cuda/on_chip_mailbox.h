// How a host thread and a running kernel hand single steps to each other through pinned memory that
// both map.
//
// Every 32-bit piece of an input or output travels in one 64-bit word together with the number of
// its step, written and read at once: so neither side needs a fence or a second look, and a row is
// complete when all its words carry the awaited number. A Real float is one piece, a double two
// (low half first). Steps count up from any number; `exited` is written last of all by a kernel
// that ends, whatever the reason, and names its launch; `handled` is then the last step it has
// stepped. A request that comes while the kernel leaves stays in the words, and the next launch
// finds it.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "kernels/cuda/on_chip_shape.h"

namespace xst::kernels::cuda {

enum class MailboxError : uint32_t { none = 0, exchange_timeout = 1 };

struct Mailbox {
  alignas(64) uint32_t stop;                    // host: leave when no request is there
  alignas(64) uint32_t handled, error, exited;  // kernel
  alignas(64) uint64_t words[1];  // requests, then replies from the next multiple of 8
};

template <class Real>
XST_HOST_DEVICE constexpr uint32_t MailboxWords(uint32_t values) {
  return values * static_cast<uint32_t>(sizeof(Real) / 4);
}
template <class Real>
XST_HOST_DEVICE constexpr uint32_t MailboxReplies(uint32_t input_width) {
  return (MailboxWords<Real>(input_width) + 7) / 8 * 8;
}
template <class Real>
constexpr size_t MailboxBytes(uint32_t input_width, uint32_t output_width) {
  return offsetof(Mailbox, words) +
         8 * size_t{MailboxReplies<Real>(input_width) + MailboxWords<Real>(output_width)};
}

// Of the host. No allocation, no system call.
template <class Real>
class MailboxHost {
 public:
  MailboxHost() = default;
  // `mailbox`: MailboxBytes of pinned mapped memory, all zero.
  MailboxHost(Mailbox* mailbox, uint32_t input_width, uint32_t output_width)
      : box_(mailbox), inputs_(input_width), outputs_(output_width) {}

  // The number of the last request; the first launch gets sequence() as its last handled one.
  uint32_t sequence() const { return sequence_; }

  void Request(const Real* in) {
    ++sequence_;
    for (uint32_t i = 0; i < inputs_; ++i) {
      uint32_t pieces[sizeof(Real) / 4];
      std::memcpy(pieces, in + i, sizeof(Real));
      for (uint32_t j = 0; j < sizeof(Real) / 4; ++j) {
        Word(i * static_cast<uint32_t>(sizeof(Real) / 4) + j)
            .store(uint64_t{sequence_} << 32 | pieces[j], std::memory_order_release);
      }
    }
  }
  // Whether the reply to the last request is complete; then it is in `out`.
  bool TryReply(Real* out) {
    const uint32_t words = MailboxWords<Real>(outputs_), first = MailboxReplies<Real>(inputs_);
    for (; seen_ < words; ++seen_) {
      // Where one line has come, the others have, or nearly; fetch them together.
      if (seen_ == 1) {
        for (uint32_t i = 8; i < words; i += 8) __builtin_prefetch(&box_->words[0] + first + i);
      }
      const uint64_t word = Word(first + seen_).load(std::memory_order_acquire);
      if (word >> 32 != sequence_) return false;
      const auto piece = static_cast<uint32_t>(word);
      std::memcpy(reinterpret_cast<char*>(out) + 4 * size_t{seen_}, &piece, 4);
    }
    seen_ = 0;
    return true;
  }
  // Whether launch `launch` has ended without having handled the last request (or at all, if there
  // is none): then launch another, on the same stream, with `last_handled` from handled().
  bool HasLeft(uint32_t launch) const {
    return Load(&box_->exited) == launch && Load(&box_->handled) != sequence_;
  }
  bool Exited(uint32_t launch) const { return Load(&box_->exited) == launch; }
  uint32_t handled() const { return Load(&box_->handled); }
  MailboxError error() const { return static_cast<MailboxError>(Load(&box_->error)); }
  void Stop(bool stop) {
    std::atomic_ref<uint32_t>(box_->stop).store(stop, std::memory_order_release);
  }

 private:
  std::atomic_ref<uint64_t> Word(uint32_t i) const {
    return std::atomic_ref<uint64_t>((&box_->words[0])[i]);
  }
  static uint32_t Load(uint32_t* p) {
    return std::atomic_ref<uint32_t>(*p).load(std::memory_order_acquire);
  }

  Mailbox* box_ = nullptr;
  uint32_t inputs_ = 0, outputs_ = 0;
  uint32_t sequence_ = 0, seen_ = 0;
};

}  // namespace xst::kernels::cuda
