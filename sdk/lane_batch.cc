#include "sdk/lane_batch.h"

#include <algorithm>
#include <new>

#include "kernels/touches.h"

namespace xst {
namespace {

using kernels::ArrayUse;
using kernels::Op;
using kernels::Slot;

// Bytes of matrices in a segment, which leave half of a small L2 to states; streams of a tile.
constexpr size_t kSegmentBytes = size_t{512} << 10;
constexpr size_t kTile = 16;
// Bytes of state that come into L2 before they are used.
constexpr size_t kAheadBytes = size_t{512} << 10;
// Where a single matrix is larger than that, the more the better.
constexpr size_t kLargeTile = 64;

std::vector<ArrayUse> UsesOf(Op op) { return kernels::ArrayUses(0, &op); }

// The activations that are still needed, followed from the last op to the first.
class Liveness {
 public:
  explicit Liveness(const Plan& plan)
      : first_(plan.state_size), live_(plan.frame_size - plan.state_size) {
    Set(plan.output, plan.output + plan.output_width, true);
  }

  size_t count() const { return count_; }
  void Before(const Op& op) {
    const std::vector<ArrayUse> uses = UsesOf(op);
    for (const ArrayUse& use : uses) {
      if (use.begin >= first_ && !use.reads) Set(use.begin, use.end, false);
    }
    for (const ArrayUse& use : uses) {
      if (use.begin >= first_ && use.reads) Set(use.begin, use.end, true);
    }
  }
  template <class F>
  void ForEachInterval(const F& f) const {
    for (auto from = live_.begin();;) {
      from = std::find(from, live_.end(), uint8_t{1});
      if (from == live_.end()) return;
      const auto to = std::find(from, live_.end(), uint8_t{0});
      f(static_cast<Slot>(from - live_.begin()) + first_,
        static_cast<Slot>(to - live_.begin()) + first_);
      from = to;
    }
  }

 private:
  void Set(Slot begin, Slot end, bool live) {
    for (Slot i = begin - first_; i < end - first_; ++i) {
      count_ += size_t{live} - size_t{live_[i]};
      live_[i] = live;
    }
  }

  const Slot first_;
  std::vector<uint8_t> live_;
  size_t count_ = 0;
};

}  // namespace

LaneBatch::LaneBatch(const ModelCore& model, size_t streams) : model_(model) {
  AddSegments(Cuts(), streams);
  const Plan& plan = model.plan;
  size_t tile = 0;
  for (const Segment& s : segments_) tile = std::max(tile, s.tile);
  stride_ =
      OddLines((plan.frame_size - plan.state_size) * model.element_bytes()) / model.element_bytes();
  Fault fault;
  if (Memory::Allocate(uint64_t{tile} * stride_ * model.element_bytes(), &activations_, &fault) !=
      Status::ok) {
    throw std::bad_alloc();
  }
  for (size_t i = 0; i < tile; ++i) {
    tile_.push_back(activations_.bytes().data() + i * stride_ * model.element_bytes() -
                    plan.state_size * model.element_bytes());
  }
}

// The ops that segments begin with: as few as the bytes allow, each where the least is live.
std::vector<size_t> LaneBatch::Cuts() const {
  const std::vector<Op>& ops = model_.plan.ops;
  std::vector<size_t> live(ops.size());
  Liveness liveness(model_.plan);
  for (size_t i = ops.size(); i-- > 0;) {
    liveness.Before(ops[i]);
    live[i] = liveness.count();
  }
  std::vector<size_t> cuts = {0};
  size_t bytes = 0, best = 0;
  for (size_t i = 0; i < ops.size(); ++i) {
    bytes += MatrixBytes(ops[i]);
    if (i == cuts.back()) {
      best = i + 1;
      continue;
    }
    if (live[i] <= live[std::min(best, i)]) best = i;
    if (bytes <= kSegmentBytes) continue;
    cuts.push_back(best);
    i = best - 1;
    bytes = 0;
  }
  return cuts;
}

void LaneBatch::AddSegments(const std::vector<size_t>& cuts, size_t streams) {
  const std::vector<Op>& ops = model_.plan.ops;
  for (size_t i = 0; i < cuts.size(); ++i) {
    Segment s{cuts[i], i + 1 < cuts.size() ? cuts[i + 1] : ops.size(), 0, {}, {}, {}};
    size_t bytes = 0;
    for (size_t op = s.begin; op < s.end; ++op) bytes += MatrixBytes(ops[op]);
    s.tile = std::min(streams, bytes > kSegmentBytes ? kLargeTile : kTile);
    AddWanted(&s);
    segments_.push_back(std::move(s));
  }
  Liveness liveness(model_.plan);
  for (size_t i = segments_.size(); i-- > 0;) {
    Segment& s = segments_[i];
    liveness.ForEachInterval([&](Slot begin, Slot end) { s.out.push_back({begin, end}); });
    for (size_t op = s.end; op-- > s.begin;) liveness.Before(ops[op]);
    liveness.ForEachInterval([&](Slot begin, Slot end) { s.in.push_back({begin, end}); });
  }
}

// Cells of mLSTMs have nearly all of the state; what lies beside theirs comes along.
void LaneBatch::AddWanted(Segment* s) const {
  const Slot end = model_.plan.state_size;
  Interval state{end, 0};
  for (size_t i = s->begin; i < s->end; ++i) {
    const Op& op = model_.plan.ops[i];
    for (const ArrayUse& use : UsesOf(op)) {
      if (use.begin >= end) continue;
      state = {std::min(state.begin, use.begin), std::max(state.end, use.end)};
    }
    if (!std::holds_alternative<kernels::MlstmCell>(op)) continue;
    s->wanted.push_back({i, state});
    state = {end, 0};
  }
}

kernels::Ahead LaneBatch::AheadOf(Next next, std::span<std::byte* const> frames) const noexcept {
  // Behind the last of a tile comes the first of the next tile, or of a later segment.
  if (next.first >= frames.size()) next = {next.segment + 1, 0, 0};
  while (next.segment < segments_.size() && segments_[next.segment].wanted.empty()) ++next.segment;
  if (next.segment == segments_.size()) return {};
  const Interval& state = segments_[next.segment].wanted[next.wanted].state;
  const size_t begin = state.begin * model_.element_bytes();
  const size_t end = state.end * model_.element_bytes();
  const size_t count = std::min(frames.size() - next.first, kAheadBytes / (end - begin));
  return {frames.data() + next.first, count, begin, end};
}

template <class T>
void LaneBatch::RunAs(const kernels::Kernels<T>& table,
                      std::span<std::byte* const> frames) noexcept {
  const auto* states = reinterpret_cast<T* const*>(frames.data());
  const auto* tile = reinterpret_cast<T* const*>(tile_.data());
  kernels::Ahead ahead = AheadOf({0, 0, 0}, frames);
  for (size_t segment = 0; segment < segments_.size(); ++segment) {
    const Segment& s = segments_[segment];
    size_t tiles = (frames.size() + s.tile - 1) / s.tile;
    for (size_t first = 0; first < frames.size(); --tiles) {
      const size_t n = (frames.size() - first + tiles - 1) / tiles;
      const kernels::Batch<T> batch{tile, states + first, n, &ahead};
      size_t wanted = 0;
      for (size_t j = 0; j < n; ++j) {
        for (const Interval& i : s.in) {
          std::copy(batch.states[j] + i.begin, batch.states[j] + i.end, tile[j] + i.begin);
        }
      }
      for (size_t i = s.begin; i < s.end; ++i) {
        const Op& op = model_.plan.ops[i];
        kernels::Run(table, op, batch, {0, Units(op)});
        if (wanted == s.wanted.size() || i != s.wanted[wanted].op) continue;
        const bool more = ++wanted < s.wanted.size();
        ahead = AheadOf({segment, more ? wanted : 0, more ? first : first + n}, frames);
      }
      for (size_t j = 0; j < n; ++j) {
        for (const Interval& i : s.out) {
          std::copy(tile[j] + i.begin, tile[j] + i.end, batch.states[j] + i.begin);
        }
      }
      first += n;
    }
  }
}

void LaneBatch::Run(std::span<std::byte* const> frames) noexcept {
  if (model_.wide) {
    RunAs(*model_.wide_kernels, frames);
  } else {
    RunAs(*model_.single_kernels, frames);
  }
}

}  // namespace xst
