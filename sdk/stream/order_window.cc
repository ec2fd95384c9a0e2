#include "sdk/stream/order_window.h"

#include <algorithm>
#include <utility>

namespace xst::stream {
namespace {

// A sample that came far too early (a glitch of its number or time) is let go after so many windows
// of arrivals, or the place where the source goes on would stay with it.
constexpr uint64_t kLongestStay = 4;

}  // namespace

OrderWindow::OrderWindow(uint32_t window, bool by_time, uint32_t width)
    : window_(window), by_time_(by_time), slots_(window + size_t{1}), recent_(window + size_t{1}) {
  for (Slot& slot : slots_) slot.x.resize(width);
  waiting_.reserve(slots_.size());
  for (uint32_t i = 0; i < slots_.size(); ++i) free_.push_back(i);
}

void OrderWindow::Restore(uint64_t position, const SampleHead& last) {
  Restore(position);
  order_ = OrderOf(last);
  has_last_ = has_resumed_ = order_ != Order::none;
  last_ = resumed_ = {last.seq, last.t};
}

OrderWindow::Order OrderWindow::OrderOf(const SampleHead& head) const {
  if (head.has_seq && !by_time_) return Order::by_seq;
  return head.has_t ? Order::by_time : Order::none;
}

bool OrderWindow::Less(const Key& a, const Key& b) const {
  return order_ == Order::by_seq ? a.seq < b.seq : a.t < b.t;
}

OrderWindow::Key OrderWindow::KeyAt(size_t place) const {
  const SampleHead& head = slots_[waiting_[place]].head;
  return {head.seq, head.t};
}

const OrderWindow::Slot& OrderWindow::Oldest() const {
  return slots_[*std::min_element(waiting_.begin(), waiting_.end(), [&](uint32_t a, uint32_t b) {
    return slots_[a].arrival < slots_[b].arrival;
  })];
}

std::optional<double> OrderWindow::last_t() const {
  if (!has_last_ || order_ != Order::by_time) return {};
  return last_.t;
}

bool OrderWindow::Skip(const SampleHead& head, bool duplicate, const Release& release) {
  ++arrivals_;
  position_ = head.position;
  if (duplicate) ++duplicates_;
  return ReleaseDue(release);
}

// The last few released are known by their keys; what lies before a restart is taken for known.
void OrderWindow::Drop(const Key& key) {
  const bool resumed = has_resumed_ && !Less(resumed_, key);
  const auto end = recent_.begin() + static_cast<ptrdiff_t>(recent_count_);
  const bool again =
      resumed || std::any_of(recent_.begin(), end, [&](const Key& k) { return Same(k, key); });
  ++(again ? duplicates_ : too_late_);
}

bool OrderWindow::StartAnew(const Release& release) {
  if (!Flush(release)) return false;
  has_last_ = has_resumed_ = false;
  recent_next_ = recent_count_ = 0;
  next_position_ = position_;
  return true;
}

bool OrderWindow::Take(const SampleHead& head, std::span<const float> x, const Release& release) {
  const Order order = OrderOf(head);
  if (order != order_) {
    if (!StartAnew(release)) return false;
    order_ = order;
  }
  const uint64_t before = std::exchange(position_, head.position);
  ++arrivals_;
  if (order == Order::none) return release(head, x, std::exchange(next_position_, position_));
  Place(head, x, before);
  return ReleaseDue(release);
}

void OrderWindow::Place(const SampleHead& head, std::span<const float> x, uint64_t before) {
  const Key key{head.seq, head.t};
  if (has_last_ && !Less(last_, key)) {
    Drop(key);
    return;
  }
  size_t place = waiting_.size();
  while (place > 0 && Less(key, KeyAt(place - 1))) --place;
  if (place > 0 && Same(key, KeyAt(place - 1))) {
    ++duplicates_;
    return;
  }
  if (place < waiting_.size()) ++reordered_;
  Slot& slot = slots_[free_.back()];
  slot.head = head;
  slot.before = before;
  slot.arrival = arrivals_;
  std::copy(x.begin(), x.end(), slot.x.begin());
  waiting_.insert(waiting_.begin() + static_cast<ptrdiff_t>(place), free_.back());
  free_.pop_back();
}

bool OrderWindow::ReleaseDue(const Release& release) {
  while (MayRelease()) {
    if (!ReleaseFirst(release)) return false;
  }
  return true;
}

bool OrderWindow::MayRelease() const {
  if (waiting_.empty()) return false;
  if (waiting_.size() > window_) return true;
  if (order_ == Order::by_seq && has_last_ && KeyAt(0).seq == last_.seq + 1) return true;
  return arrivals_ - Oldest().arrival > kLongestStay * window_;
}

bool OrderWindow::ReleaseFirst(const Release& release) {
  const uint32_t index = waiting_.front();
  Slot& slot = slots_[index];
  has_last_ = true;
  last_ = KeyAt(0);
  recent_[recent_next_] = last_;
  recent_next_ = (recent_next_ + 1) % recent_.size();
  recent_count_ = std::min(recent_count_ + 1, recent_.size());
  waiting_.erase(waiting_.begin());
  free_.push_back(index);
  slot.head.position = position();
  return release(slot.head, slot.x, std::exchange(next_position_, slot.head.position));
}

bool OrderWindow::Flush(const Release& release) {
  while (!waiting_.empty()) {
    if (!ReleaseFirst(release)) return false;
  }
  return true;
}

}  // namespace xst::stream
