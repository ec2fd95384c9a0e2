// Puts samples that arrived out of order back in order.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <vector>

#include "sdk/stream/sample.h"

namespace xst::stream {

// One thread, but for the counts; allocates nothing after construction.
//
// Order is by sequence number, or by source time where a sample has none. A sample waits until its
// predecessor in number has come or `window` others wait beside it; one that comes after its place
// was passed is dropped. A sample with neither number nor time is not held.
class OrderWindow {
 public:
  // `head.position` is where the source must go on for what comes behind this sample, `before` the
  // same of the sample released before it. False: stopped.
  using Release =
      std::function<bool(const SampleHead& head, std::span<const float> x, uint64_t before)>;

  // `by_time`: whatever the numbers say.
  OrderWindow(uint32_t window, bool by_time, uint32_t width);

  // The source goes on from `position`.
  void Restore(uint64_t position) { position_ = next_position_ = position; }
  // And this, which has a number or a time, was released last.
  void Restore(uint64_t position, const SampleHead& last);

  // False: `release` was stopped.
  bool Take(const SampleHead& head, std::span<const float> x, const Release& release);
  // Passes a sample over that is known to have been released; counted if it is of no use.
  bool Skip(const SampleHead& head, bool duplicate, const Release& release);
  // Releases all that waits.
  bool Flush(const Release& release);
  // And forgets what was released.
  bool StartAnew(const Release& release);

  // Whether `head` would be placed by its time, and the time last released then.
  bool ByTime(const SampleHead& head) const { return OrderOf(head) == Order::by_time; }
  std::optional<double> last_t() const;

  // Where the source goes on for what waits and what comes.
  uint64_t position() const { return waiting_.empty() ? position_ : Oldest().before; }
  uint64_t reordered() const { return reordered_; }    // put before one that had come earlier
  uint64_t too_late() const { return too_late_; }      // dropped
  uint64_t duplicates() const { return duplicates_; }  // dropped

 private:
  enum class Order : uint8_t { none, by_seq, by_time };
  struct Key {
    uint64_t seq = 0;
    double t = 0;
  };
  struct Slot {
    SampleHead head;
    uint64_t before = 0;   // position of the source before this sample
    uint64_t arrival = 0;  // counts
    std::vector<float> x;
  };

  Order OrderOf(const SampleHead& head) const;
  bool Less(const Key& a, const Key& b) const;
  bool Same(const Key& a, const Key& b) const { return !Less(a, b) && !Less(b, a); }
  Key KeyAt(size_t place) const;
  const Slot& Oldest() const;
  void Place(const SampleHead& head, std::span<const float> x, uint64_t before);
  bool MayRelease() const;
  bool ReleaseDue(const Release& release);
  bool ReleaseFirst(const Release& release);
  void Drop(const Key& key);

  const uint32_t window_;
  const bool by_time_;
  std::vector<Slot> slots_;
  std::vector<uint32_t> waiting_, free_;  // slots: those in use by key, the others
  Order order_ = Order::none;
  bool has_last_ = false, has_resumed_ = false;
  Key last_;                 // released
  Key resumed_;              // released before a restart
  std::vector<Key> recent_;  // the last released
  size_t recent_next_ = 0, recent_count_ = 0;
  uint64_t arrivals_ = 0;
  uint64_t position_ = 0;
  uint64_t next_position_ = 0;  // where the source goes on for what is not released
  std::atomic<uint64_t> reordered_{0}, too_late_{0}, duplicates_{0};
};

}  // namespace xst::stream
