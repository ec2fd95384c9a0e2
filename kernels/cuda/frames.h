// What CUDA kernels work on: the frames of several streams of one model in the memory of one
// device.
//
// Matrices of the ops are in layout `rows` there: row-major, each row padded with zeros to a
// multiple of 64 bytes, the base 256-byte aligned; every weight pointer of an op is a device
// pointer.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/ops.h"

namespace xst::kernels::cuda {

// Lane l's frame is [data + l * stride, + the Plan's frame_size). T is float, or double for wide
// arithmetic.
template <class T>
struct Frames {
  T* data;
  size_t stride;  // elements between lanes, a multiple of 32
  uint32_t lanes;
  const uint8_t* active;  // device, [lanes]; null: all. An inactive lane's state stays as it is,
                          // its activations may change
};

// `steps` steps of every lane at once. State lies in the lane's frame; the activations of step t of
// lane l, token l * steps + t, lie in the token's own frame at tokens.data + token * tokens.stride,
// where slots count as in a frame (so tokens.data points as many elements before its memory as the
// state has: no state slot is ever taken there). tokens.lanes = lanes * steps; no token is
// inactive.
template <class T>
struct Sequence {
  Frames<T> state;
  Frames<T> tokens;
  uint32_t steps;
};

// Elements of a weight type in 64 bytes, and from row to row of a matrix.
inline constexpr uint32_t SizeOf(DType t) { return t == DType::f32 ? 4 : t == DType::i8 ? 1 : 2; }
inline constexpr size_t RowStride(DType t, uint32_t cols) {
  const uint32_t line = 64 / SizeOf(t);
  return (size_t{cols} + line - 1) / line * line;
}

}  // namespace xst::kernels::cuda
