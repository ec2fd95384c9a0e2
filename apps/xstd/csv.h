// Rows of a CSV recording, by its header.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "formats/status.h"
#include "sdk/model.h"

namespace xstd {

// Which column is what. The first may be the time in seconds (named t, time or timestamp); the
// inputs are found by name, or, if the header does not name them all, by order when the number of
// columns fits.
class CsvColumns {
 public:
  // Throws xst::Error: not a header, or one that does not fit. `what` names the file.
  CsvColumns(std::string_view header, const xst::ModelInfo& model, const std::string& what);

  bool has_time() const { return has_time_; }
  uint32_t count() const { return columns_; }

  // x: input_width values, the same as formats::ReadCsv gives, NaN for an empty field. `t` is set
  // if there is a time column. Other columns are not looked at.
  xst::Status Parse(std::string_view row, double* t, std::span<float> x, xst::Fault* fault) const;

 private:
  bool has_time_ = false;
  uint32_t columns_ = 0;
  std::vector<int32_t> input_of_;  // one a column; -1: none
};

// Whether every field of the line is a number or empty: data, not a header.
bool IsCsvData(std::string_view line);

}  // namespace xstd
