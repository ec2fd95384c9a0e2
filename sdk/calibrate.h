// Rounding to i8 with a recording of the model's input.
#pragma once

#include <map>
#include <span>
#include <string>
#include <vector>

#include "formats/npy.h"
#include "formats/pack.h"
#include "kernels/ops.h"

namespace xst {

// Runs a recording through the model with its full weights and keeps, of every matrix, the second
// moments of what it is multiplied with. As a pack's rounder it then chooses quanta that make the
// error of the products small, not that of the weights. Matrices that are also looked up row by row
// (embeddings) are rounded to the nearest.
class Calibration : public formats::Rounder {
 public:
  // `recording`: [T][input width] float32, or [T] token ids; see TakeRecording. `options` are those
  // of the pack; scratch files go beside `path`. Throws Error; also where the moments of so large a
  // model, or of a model that steps no samples (tirex), cannot be had.
  Calibration(const std::string& source, const std::string& path,
              const formats::PackOptions& options, const formats::Array& recording);

  void Round(const formats::TensorSpec& spec, formats::DType dtype, std::span<const float> scales,
             formats::TensorValues* values) override;

 private:
  // Of a matrix [rows][cols]: several inputs where its rows take different parts of a step.
  struct Moments {
    uint32_t cols = 0;
    std::vector<kernels::Slot> inputs;          // [cols] each, in the frame
    std::vector<uint32_t> input_of;             // [rows]
    std::vector<std::vector<double>> products;  // per input: sums of x x^T, lower triangle
  };
  class Collector;

  std::map<std::string, Moments, std::less<>> moments_;  // by the tensor's name in the file
};

}  // namespace xst
