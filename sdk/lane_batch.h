// One step of many streams on the CPU: every matrix is read once for several of them.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "sdk/model_core.h"

namespace xst {

// The ops are cut into segments whose matrices stay in L2 while the streams go through, a tile of
// them at a time. A tile's activations lie here and not in the streams' frames, where they would
// push the state out of the caches; what a segment needs of an earlier one goes through the frame.
class LaneBatch {
 public:
  // For up to `streams` at once. `model` is on the CPU and outlives this. May throw bad_alloc.
  LaneBatch(const ModelCore& model, size_t streams);

  // The ops of one step on these frames (SessionCore::frame); bit for bit what each would do alone.
  // Allocates nothing.
  void Run(std::span<std::byte* const> frames) noexcept;

 private:
  struct Interval {
    kernels::Slot begin, end;
  };
  // State that op `op` is the last to need; the tile's next comes into L2 during products.
  struct Wanted {
    size_t op;
    Interval state;
  };
  struct Segment {
    size_t begin, end;  // ops
    size_t tile;        // streams at once
    std::vector<Interval> in, out;
    std::vector<Wanted> wanted;
  };
  // What is wanted next while a tile runs: `wanted` of `segment` for streams from `first` on.
  struct Next {
    size_t segment, wanted, first;
  };
  std::vector<size_t> Cuts() const;
  void AddSegments(const std::vector<size_t>& cuts, size_t streams);
  void AddWanted(Segment* s) const;
  kernels::Ahead AheadOf(Next next, std::span<std::byte* const> frames) const noexcept;
  template <class T>
  void RunAs(const kernels::Kernels<T>& table, std::span<std::byte* const> frames) noexcept;

  const ModelCore& model_;
  std::vector<Segment> segments_;
  size_t stride_ = 0;  // elements between the activations of a tile's streams
  Memory activations_;
  std::vector<void*> tile_;  // what stands for a tile's frames
};

}  // namespace xst
