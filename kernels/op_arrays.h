// Which arrays of the frame an op touches.
#pragma once

#include "kernels/ops.h"

namespace xst::kernels {

enum class Access : uint8_t { read, write, update };

// f(slot, size, access) for every array of an op, state included; `size` in elements, up to the end
// of its last row.
template <class F>
void ForEachArray(const Norm& o, const F& f) {
  f(o.x, o.size, Access::read);
  f(o.y, o.size, Access::write);
}
template <class F>
void ForEachArray(const Linear& o, const F& f) {
  f(o.x, o.w.cols, Access::read);
  f(o.y, o.w.rows, o.accumulate ? Access::update : Access::write);
}
template <class F>
void ForEachArray(const BlockLinear& o, const F& f) {
  f(o.x, o.w.rows, Access::read);
  f(o.y, o.w.rows, Access::write);
}
template <class F>
void ForEachArray(const Conv& o, const F& f) {
  f(o.history, (o.kernel - 1) * o.stride, Access::update);
  f(o.x, o.channels, Access::read);
  f(o.y, o.channels, Access::write);
}
template <class F>
void ForEachArray(const MlstmCell& o, const F& f) {
  f(o.q, o.heads * o.dk, Access::read);
  f(o.k, o.heads * o.dk, Access::read);
  f(o.v, o.heads * o.dv, Access::read);
  f(o.gates, 2 * o.heads, Access::read);
  f(o.c, o.heads * o.dk * o.stride_c, Access::update);
  f(o.n, o.heads * o.stride_n, Access::update);
  f(o.m, o.heads, Access::update);
  f(o.h, o.heads * o.dv, Access::write);
}
template <class F>
void ForEachArray(const MlstmOut& o, const F& f) {
  const uint32_t size = o.heads * o.dim;
  f(o.h, size, Access::read);
  if (o.skip) f(o.c, size, Access::read);
  f(o.z, size, Access::read);
  f(o.y, size, Access::write);
}
template <class F>
void ForEachArray(const SlstmInput& o, const F& f) {
  f(o.conv, o.channels, Access::read);
  f(o.u, o.channels, Access::read);
  f(o.wx, 4 * RoundUp16(o.channels), Access::write);
}
template <class F>
void ForEachArray(const SlstmCell& o, const F& f) {
  f(o.wx, 4 * RoundUp16(o.channels), Access::read);
  f(o.y, o.channels, Access::read);
  f(o.c, o.channels, Access::update);
  if (!o.lstm) {
    f(o.n, o.channels, Access::update);
    f(o.m, o.channels, Access::update);
  }
  f(o.out, o.channels, Access::write);
}
template <class F>
void ForEachArray(const SlstmOut& o, const F& f) {
  f(o.out, o.heads * o.dim, Access::read);
  f(o.y, o.heads * o.dim, Access::write);
  f(o.x, o.heads * o.dim, Access::update);
}
template <class F>
void ForEachArray(const GatedAct& o, const F& f) {
  f(o.gate, o.size, Access::read);
  f(o.linear, o.size, Access::read);
  f(o.y, o.size, Access::write);
}
template <class F>
void ForEachArray(const Pointwise& o, const F& f) {
  f(o.x, o.size, Access::read);
  f(o.y, o.size, Access::write);
}
template <class F>
void ForEachArray(const Embed& o, const F& f) {
  f(o.token, 1, Access::read);
  f(o.x, o.table.cols, Access::write);
}
template <class F>
void ForEachArray(const Op& op, const F& f) {
  Visit([&](const auto& o) { ForEachArray(o, f); }, op);
}

// Bytes of the matrix that every run of an op reads.
inline size_t MatrixBytes(const Op& op) {
  const auto bytes = [](const Matrix& m) {
    const size_t size = m.dtype == DType::f32 ? 4 : m.dtype == DType::i8 ? 1 : 2;
    return size_t{m.layout == Layout::panel ? RoundUp16(m.rows) : m.rows} * m.cols * size;
  };
  if (const auto* o = std::get_if<Linear>(&op)) return bytes(o->w);
  if (const auto* o = std::get_if<BlockLinear>(&op)) return bytes(o->w);
  if (const auto* o = std::get_if<SlstmInput>(&op)) return bytes(o->w);
  if (const auto* o = std::get_if<SlstmCell>(&op)) return bytes(o->r);
  return 0;
}

}  // namespace xst::kernels
