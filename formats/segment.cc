#include "formats/segment.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

namespace xst::formats {
namespace {

uint64_t RoundUp(uint64_t n, uint64_t to) { return (n + to - 1) / to * to; }

void EncodeElement(float value, DType dtype, float scale, std::byte* at) {
  switch (dtype) {
    case DType::f32:
      std::memcpy(at, &value, sizeof value);
      return;
    case DType::bf16: {
      const uint16_t bits = RoundToBf16(value);
      std::memcpy(at, &bits, sizeof bits);
      return;
    }
    case DType::i16:
    case DType::i8: {
      if (scale == 0) return;
      // The default rounding mode: half to even.
      const double largest = LargestQuantum(dtype);
      const double q = std::clamp(double{value} / double{scale}, -largest, largest);
      const auto quantum = static_cast<int32_t>(std::lrint(q));
      if (dtype == DType::i8) {
        const auto small = static_cast<int8_t>(quantum);
        std::memcpy(at, &small, sizeof small);
      } else {
        const auto small = static_cast<int16_t>(quantum);
        std::memcpy(at, &small, sizeof small);
      }
      return;
    }
  }
}

}  // namespace

uint64_t PaddedRows(const TensorSpec& spec) {
  return spec.layout == Layout::panel ? RoundUp(spec.rows, kPanelRows) : spec.rows;
}

uint64_t PaddedCols(const TensorSpec& spec, DType dtype) {
  const uint64_t to =
      spec.layout == Layout::panel ? Interleave(dtype) : kRowAlign / ElementSize(dtype);
  return RoundUp(spec.cols, to);
}

uint64_t ScaleBytes(const TensorSpec& spec, DType dtype) {
  return HasScales(dtype) ? spec.rows * sizeof(float) : 0;
}

uint64_t ElementIndex(const TensorSpec& spec, DType dtype, uint64_t row, uint64_t col) {
  const uint64_t cols = PaddedCols(spec, dtype);
  if (spec.layout == Layout::rows) return row * cols + col;
  const uint64_t together = Interleave(dtype);
  return row / kPanelRows * kPanelRows * cols + col / together * kPanelRows * together +
         row % kPanelRows * together + col % together;
}

float DecodeElement(const std::byte* at, DType dtype, float scale) {
  switch (dtype) {
    case DType::f32: {
      float value;
      std::memcpy(&value, at, sizeof value);
      return value;
    }
    case DType::bf16: {
      uint16_t bits;
      std::memcpy(&bits, at, sizeof bits);
      return std::bit_cast<float>(uint32_t{bits} << 16);
    }
    case DType::i16: {
      int16_t quantum;
      std::memcpy(&quantum, at, sizeof quantum);
      return static_cast<float>(quantum) * scale;
    }
    case DType::i8: {
      int8_t quantum;
      std::memcpy(&quantum, at, sizeof quantum);
      return static_cast<float>(quantum) * scale;
    }
  }
  return 0;
}

uint16_t RoundToBf16(float value) {
  const auto bits = std::bit_cast<uint32_t>(value);
  return static_cast<uint16_t>((bits + 0x7FFF + (bits >> 16 & 1)) >> 16);
}

float RowScale(std::span<const float> row, DType dtype) {
  float largest = 0;
  for (const float v : row) largest = std::max(largest, std::fabs(v));
  const auto quanta = static_cast<float>(LargestQuantum(dtype));
  const float scale = largest / quanta;
  return std::isfinite(scale * quanta) ? scale : std::nextafter(scale, 0.0f);
}

void EncodeRows(const TensorSpec& spec, DType dtype, std::span<const float> matrix, uint64_t first,
                uint64_t count, std::span<const float> scales, std::byte* out) {
  const uint64_t base = ElementIndex(spec, dtype, first, 0), size = ElementSize(dtype);
  // From one group of columns that lie together to the next.
  const uint64_t together = spec.layout == Layout::panel ? Interleave(dtype) : 1;
  const uint64_t stride = spec.layout == Layout::panel ? kPanelRows * together * size : size;
  for (uint64_t r = 0; r < count; ++r) {
    const float scale = scales.empty() ? 1.0f : scales[r];
    const float* row = &matrix[(first + r) * spec.cols];
    std::byte* group = out + (ElementIndex(spec, dtype, first + r, 0) - base) * size;
    for (uint64_t c = 0; c < spec.cols; c += together, group += stride) {
      const uint64_t end = std::min(together, spec.cols - c);
      for (uint64_t i = 0; i < end; ++i) EncodeElement(row[c + i], dtype, scale, group + i * size);
    }
  }
}

}  // namespace xst::formats
