// How the elements of a tensor lie in its segment of the model file (panel and rows layouts, every
// dtype), and the rounding of the small types.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "formats/manifest.h"

namespace xst::formats {

inline constexpr uint64_t kPanelRows = 16;
inline constexpr uint64_t kRowAlign = 64;  // bytes, of the rows layout

constexpr uint64_t ElementSize(DType dtype) {
  return dtype == DType::f32 ? 4 : dtype == DType::i8 ? 1 : 2;
}
// Columns that lie together in a panel: four bytes of one row.
constexpr uint64_t Interleave(DType dtype) { return 4 / ElementSize(dtype); }
constexpr bool HasScales(DType dtype) { return dtype == DType::i16 || dtype == DType::i8; }
constexpr int32_t LargestQuantum(DType dtype) { return dtype == DType::i8 ? 127 : 32767; }

// Rows and columns with padding; the padding is zero.
uint64_t PaddedRows(const TensorSpec& spec);
uint64_t PaddedCols(const TensorSpec& spec, DType dtype);
// Bytes of the scales' segment: f32 [rows], or 0.
uint64_t ScaleBytes(const TensorSpec& spec, DType dtype);
// Offset of an element in the segment, in elements; row and col within the padded matrix.
uint64_t ElementIndex(const TensorSpec& spec, DType dtype, uint64_t row, uint64_t col);

// The stored value of one element at `at`; `scale` is its row's (1 without scales).
float DecodeElement(const std::byte* at, DType dtype, float scale);
// f32 to the nearest bf16 bits, ties to even; too large a value becomes infinite.
uint16_t RoundToBf16(float value);
// max|row| / LargestQuantum.
float RowScale(std::span<const float> row, DType dtype);

// Encodes rows [first, first + count) of the row-major matrix, padding included: a panel or one row
// of the rows layout. `scales` [count] or empty. `out` is zeroed by the caller.
void EncodeRows(const TensorSpec& spec, DType dtype, std::span<const float> matrix, uint64_t first,
                uint64_t count, std::span<const float> scales, std::byte* out);

}  // namespace xst::formats
