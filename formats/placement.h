// Where each element of an official tensor lies in a matrix of the model file; the packer and the
// unpacker walk the same map.
#pragma once

#include <cstdint>

#include "formats/manifest.h"

namespace xst::formats {

struct SlstmHeads {
  uint64_t heads = 1, dim = 1;
};

inline SlstmHeads HeadsOf(const ModelConfig& config) {
  if (config.family == Family::tirex) {
    return {config.tirex.heads, config.tirex.embedding_dim / config.tirex.heads};
  }
  const BlockStackConfig& c = config.block_stack;
  if (!c.slstm) return {};
  return {c.slstm->heads, c.embedding_dim / c.slstm->heads};
}

// Calls visit(i, at): element i of the source (vanilla layout) is element `at` of the row-major
// matrix.
template <class Visit>
void ForEachElement(const TensorSpec& spec, const Source& source, const SlstmHeads& s,
                    Visit visit) {
  uint64_t size = 1;
  for (const uint64_t axis : source.shape) size *= axis;
  const auto row_of = [](uint64_t channel, uint64_t gate) {
    return channel / 16 * 64 + gate * 16 + channel % 16;
  };
  switch (source.placement) {
    case Placement::rows: {
      const uint64_t first = source.offset * (spec.rows == 1 ? 1 : spec.cols);
      for (uint64_t i = 0; i < size; ++i) visit(i, first + i);
      return;
    }
    case Placement::transposed:
      for (uint64_t i = 0; i < size; ++i) visit(i, i % spec.rows * spec.cols + i / spec.rows);
      return;
    case Placement::gate_rows:
      for (uint64_t i = 0; i < size; ++i) {
        visit(i, row_of(i / s.dim, source.offset) * spec.cols + i % s.dim);
      }
      return;
    case Placement::recurrent:
      for (uint64_t i = 0; i < size; ++i) {
        const uint64_t row = i / s.dim, head = row / (4 * s.dim), in_head = row % (4 * s.dim);
        const uint64_t gate = in_head / s.dim, channel = head * s.dim + in_head % s.dim;
        visit(i, row_of(channel, gate) * spec.cols + i % s.dim);
      }
      return;
    case Placement::recurrent_bias:
      for (uint64_t i = 0; i < size; ++i) {
        const uint64_t channels = s.heads * s.dim;
        visit(i, row_of(i % channels, i / channels));
      }
      return;
    case Placement::recurrent_by_input:
      for (uint64_t i = 0; i < size; ++i) {
        const uint64_t input = i / (4 * s.dim), in_head = i % (4 * s.dim);
        const uint64_t gate = in_head / s.dim;
        const uint64_t channel = input / s.dim * s.dim + in_head % s.dim;
        visit(i, row_of(channel, gate) * spec.cols + input % s.dim);
      }
      return;
    case Placement::recurrent_bias_by_head:
      for (uint64_t i = 0; i < size; ++i) {
        visit(i, row_of(i / (4 * s.dim) * s.dim + i % s.dim, i / s.dim % 4));
      }
      return;
  }
}

}  // namespace xst::formats
