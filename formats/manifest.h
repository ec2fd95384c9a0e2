// The manifest of a model: every tensor its file holds, in the order the step reads them, and where
// each comes from in the official checkpoint. Packer, loader, unpacker and Plan all read this list.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "formats/config.h"

namespace xst::formats {

enum class DType : uint8_t { f32, i16, bf16, i8 };
enum class Layout : uint8_t { panel, rows };

// Where the elements of a source tensor go in the file's matrix [rows][cols].
enum class Placement : uint8_t {
  rows,            // source [r][cols] (trailing axes flattened) -> rows offset + r
  transposed,      // source [cols][rows] -> [rows][cols]   (convolution: taps become rows)
  gate_rows,       // source [heads][dim][dim], one gate g -> sLSTM row order (below)
  recurrent,       // source [heads][4 dim][dim] or [heads][dim][4 dim] -> sLSTM row order
  recurrent_bias,  // source [4 D], order told by the recurrent kernel's layout -> a vector in row
                   // order
  recurrent_by_input,      // source [heads][dim][4 dim] -> sLSTM row order
  recurrent_bias_by_head,  // source [heads][4][dim] -> a vector in row order
};
// sLSTM row order: channel c, gate g in i, f, z, o is row (c / 16) * 64 + g * 16 + c % 16.

// Prefix of the stack's tensors in a checkpoint with an encoder and a head around it; the packer
// also takes one without the prefix.
inline constexpr char kBackbone[] = "backbone.";

struct Source {
  std::string name;             // official state-dict name
  std::vector<uint64_t> shape;  // expected; for `recurrent` the vanilla shape [heads][4 dim][dim]
  Placement placement = Placement::rows;
  uint32_t offset = 0;  // first row, in a vector first element (rows); gate index (gate_rows)
};

struct TensorSpec {
  std::string name;  // in the file, e.g. "blocks.0.up"
  uint64_t rows = 1, cols = 0;
  Layout layout = Layout::rows;
  bool rounded = false;  // takes the file's dtype; otherwise always f32
  std::vector<Source> sources;
};

// Bytes of a tensor's data segment; the caller checks validity of sizes by the config caps.
uint64_t TensorBytes(const TensorSpec& spec, DType dtype);
// The dtype a tensor has in a file of `file_dtype`.
inline DType StoredDType(const TensorSpec& spec, DType file_dtype) {
  return spec.rounded ? file_dtype : DType::f32;
}

// The full list for a resolved, valid configuration.
std::vector<TensorSpec> Manifest(const ModelConfig& config);

}  // namespace xst::formats
