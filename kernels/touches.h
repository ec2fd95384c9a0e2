// What a unit of an op reads and writes: the contract of ops.h as code, from which the sdk finds
// out what may run at the same time.
#pragma once

#include <algorithm>
#include <vector>

#include "kernels/ops.h"

namespace xst::kernels {

enum class Touch : uint8_t { read, write, update };  // update: reads and writes

// Inputs [begin, end) of 16 rows from `row` on of a block-diagonal matrix.
struct BlockSpan {
  uint32_t begin, end;
};
constexpr BlockSpan BlocksOf(uint32_t row, uint32_t rows, uint32_t block) {
  const uint32_t last = std::min(row + kUnit, rows) - 1;
  return {row / block * block, last / block * block + block};
}
constexpr uint32_t UnitEnd(uint32_t unit, uint32_t size) {
  return std::min((unit + 1) * kUnit, size);
}

// f(Slot& array, begin, end, Touch) for every interval of the frame that unit `u` of an op touches,
// relative to its array. An array may come several times.
template <class F>
void VisitTouches(Norm& o, uint32_t, const F& f) {
  f(o.x, 0u, o.size, Touch::read);
  f(o.y, 0u, o.size, Touch::write);
}
template <class F>
void VisitTouches(Linear& o, uint32_t u, const F& f) {
  const bool panel = o.w.layout == Layout::panel;
  f(o.x, 0u, o.w.cols, Touch::read);
  f(o.y, panel ? u * kUnit : u, panel ? UnitEnd(u, o.w.rows) : u + 1,
    o.accumulate ? Touch::update : Touch::write);
}
template <class F>
void VisitTouches(BlockLinear& o, uint32_t u, const F& f) {
  const BlockSpan in = BlocksOf(u * kUnit, o.w.rows, o.w.cols);
  f(o.x, in.begin, in.end, Touch::read);
  f(o.y, u * kUnit, UnitEnd(u, o.w.rows), Touch::write);
}
template <class F>
void VisitTouches(Conv& o, uint32_t u, const F& f) {
  const uint32_t begin = u * kUnit, end = UnitEnd(u, o.channels);
  for (uint32_t j = 0; j + 1 < o.kernel; ++j) {
    f(o.history, j * o.stride + begin, j * o.stride + end, Touch::update);
  }
  f(o.x, begin, end, Touch::read);
  f(o.y, begin, end, Touch::write);
}
template <class F>
void VisitTouches(MlstmCell& o, uint32_t h, const F& f) {
  f(o.q, h * o.dk, (h + 1) * o.dk, Touch::read);
  f(o.k, h * o.dk, (h + 1) * o.dk, Touch::read);
  f(o.v, h * o.dv, (h + 1) * o.dv, Touch::read);
  f(o.gates, h, h + 1, Touch::read);
  f(o.gates, o.heads + h, o.heads + h + 1, Touch::read);
  f(o.c, h * o.dk * o.stride_c, (h + 1) * o.dk * o.stride_c, Touch::update);
  f(o.n, h * o.stride_n, h * o.stride_n + o.dk, Touch::update);
  f(o.m, h, h + 1, Touch::update);
  f(o.h, h * o.dv, (h + 1) * o.dv, Touch::write);
}
template <class F>
void VisitTouches(MlstmOut& o, uint32_t h, const F& f) {
  const uint32_t begin = h * o.dim, end = begin + o.dim;
  f(o.h, begin, end, Touch::read);
  if (o.skip) f(o.c, begin, end, Touch::read);
  f(o.z, begin, end, Touch::read);
  f(o.y, begin, end, Touch::write);
}
template <class F>
void VisitTouches(SlstmInput& o, uint32_t u, const F& f) {
  const BlockSpan in = BlocksOf(u * kUnit, o.channels, o.dim);
  f(o.conv, in.begin, in.end, Touch::read);
  f(o.u, in.begin, in.end, Touch::read);
  f(o.wx, u * 4 * kUnit, (u + 1) * 4 * kUnit, Touch::write);
}
template <class F>
void VisitTouches(SlstmCell& o, uint32_t u, const F& f) {
  const uint32_t begin = u * kUnit, end = UnitEnd(u, o.channels);
  const BlockSpan in = BlocksOf(begin, o.channels, o.dim);
  f(o.wx, u * 4 * kUnit, (u + 1) * 4 * kUnit, Touch::read);
  f(o.y, in.begin, in.end, Touch::read);
  f(o.c, begin, end, Touch::update);
  if (!o.lstm) {
    f(o.n, begin, end, Touch::update);
    f(o.m, begin, end, Touch::update);
  }
  f(o.out, begin, end, Touch::write);
}
template <class F>
void VisitTouches(SlstmOut& o, uint32_t h, const F& f) {
  const uint32_t begin = h * o.dim, end = begin + o.dim;
  f(o.out, begin, end, Touch::read);
  f(o.y, begin, end, Touch::write);
  f(o.x, begin, end, Touch::update);
}
template <class F>
void VisitTouches(GatedAct& o, uint32_t u, const F& f) {
  const uint32_t begin = u * kUnit, end = UnitEnd(u, o.size);
  f(o.gate, begin, end, Touch::read);
  f(o.linear, begin, end, Touch::read);
  f(o.y, begin, end, Touch::write);
}
template <class F>
void VisitTouches(Pointwise& o, uint32_t u, const F& f) {
  const uint32_t begin = u * kUnit, end = UnitEnd(u, o.size);
  f(o.x, begin, end, Touch::read);
  f(o.y, begin, end, Touch::write);
}
template <class F>
void VisitTouches(Embed& o, uint32_t, const F& f) {
  f(o.token, 0u, 1u, Touch::read);
  f(o.x, 0u, o.table.cols, Touch::write);
}
template <class F>
void VisitTouches(Op& op, uint32_t u, const F& f) {
  std::visit([&](auto& o) { VisitTouches(o, u, f); }, op);
}

// An array as an op uses it, whole: from the first element that a unit touches to behind the last.
struct ArrayUse {
  uint32_t op;  // whatever number the caller gave
  Slot* slot;   // in the op
  Slot begin, end;
  bool reads, writes;
};
inline std::vector<ArrayUse> ArrayUses(uint32_t number, Op* op) {
  std::vector<ArrayUse> uses;
  for (uint32_t u = 0; u < Units(*op); ++u) {
    VisitTouches(*op, u, [&](Slot& slot, uint32_t begin, uint32_t end, Touch touch) {
      auto use = std::find_if(uses.begin(), uses.end(),
                              [&](const ArrayUse& known) { return known.slot == &slot; });
      if (use == uses.end()) {
        use = uses.insert(use, {number, &slot, slot + begin, slot + end, false, false});
      }
      use->begin = std::min(use->begin, slot + begin);
      use->end = std::max(use->end, slot + end);
      use->reads |= touch != Touch::write;
      use->writes |= touch != Touch::read;
    });
  }
  return uses;
}

// Bytes of `rows` rows of a matrix.
inline uint64_t RowBytes(const Matrix& w, uint32_t rows) {
  const uint32_t element = w.dtype == DType::f32 ? 4 : w.dtype == DType::i8 ? 1 : 2;
  return uint64_t{rows} * w.cols * element;
}

// Bytes of the matrix that every run of an op reads.
inline uint64_t MatrixBytes(const Op& op) {
  const auto bytes = [](const Matrix& m) {
    return RowBytes(m, m.layout == Layout::panel ? RoundUp16(m.rows) : m.rows);
  };
  if (const auto* o = std::get_if<Linear>(&op)) return bytes(o->w);
  if (const auto* o = std::get_if<BlockLinear>(&op)) return bytes(o->w);
  if (const auto* o = std::get_if<SlstmInput>(&op)) return bytes(o->w);
  if (const auto* o = std::get_if<SlstmCell>(&op)) return bytes(o->r);
  return 0;
}

// Bytes of weights and state that a unit of an op moves, with the like for what it computes: how
// long it takes beside others.
inline uint64_t UnitCost(const Norm& o) { return uint64_t{o.size} * 24; }
inline uint64_t UnitCost(const Linear& o) {
  return RowBytes(o.w, o.w.layout == Layout::panel ? kUnit : 1);
}
inline uint64_t UnitCost(const BlockLinear& o) { return RowBytes(o.w, kUnit) + kUnit * 8; }
inline uint64_t UnitCost(const Conv& o) { return uint64_t{kUnit} * (o.kernel * 8 + 32); }
inline uint64_t UnitCost(const MlstmCell& o) { return uint64_t{o.dk} * o.stride_c * 8 + 2048; }
inline uint64_t UnitCost(const MlstmOut& o) { return uint64_t{o.dim} * 64 + 512; }
inline uint64_t UnitCost(const SlstmInput& o) { return RowBytes(o.w, 4 * kUnit); }
inline uint64_t UnitCost(const SlstmCell& o) { return RowBytes(o.r, 4 * kUnit) + 2048; }
inline uint64_t UnitCost(const SlstmOut& o) { return uint64_t{o.dim} * 48 + 512; }
inline uint64_t UnitCost(const GatedAct&) { return kUnit * 48; }
inline uint64_t UnitCost(const Pointwise&) { return kUnit * 32; }
inline uint64_t UnitCost(const Embed& o) { return uint64_t{o.table.cols} * 8; }
inline uint64_t UnitCost(const Op& op) {
  return std::visit([](const auto& o) { return UnitCost(o); }, op);
}

}  // namespace xst::kernels
