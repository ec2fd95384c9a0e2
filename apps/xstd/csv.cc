#include "apps/xstd/csv.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "formats/number.h"
#include "formats/text.h"

namespace xstd {
namespace {

using xst::Error;
using xst::Fault;
using xst::Status;

using xst::formats::FieldReader;
using xst::formats::ParseDouble;
using xst::formats::ParseFloat;

std::string_view Unquoted(std::string_view s) {
  if (s.size() >= 2 && s.front() == '"' && s.back() == '"') s = s.substr(1, s.size() - 2);
  return s;
}

// An empty field is a missing value.
bool ParseSample(std::string_view text, float* value) {
  *value = std::numeric_limits<float>::quiet_NaN();
  return text.empty() || ParseFloat(text, value);
}

bool IsTime(std::string_view name) {
  std::string lower(name);
  std::transform(lower.begin(), lower.end(), lower.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return lower == "t" || lower == "time" || lower == "timestamp";
}

}  // namespace

bool IsCsvData(std::string_view line) {
  FieldReader fields(line);
  std::string_view field;
  double value;
  while (fields.Next(&field)) {
    if (!field.empty() && !ParseDouble(field, &value)) return false;
  }
  return true;
}

CsvColumns::CsvColumns(std::string_view header, const xst::ModelInfo& model,
                       const std::string& what) {
  if (header.substr(0, 3) == "\xef\xbb\xbf") header.remove_prefix(3);  // byte order mark
  if (IsCsvData(header)) {
    throw Error(Status::corrupt, what + ": expected a header line with column names, got \"" +
                                     xst::formats::Printable(header) + "\"");
  }
  std::vector<std::string> names;
  FieldReader fields(header);
  std::string_view name;
  while (fields.Next(&name)) names.emplace_back(Unquoted(name));
  const bool by_name =
      !model.input_names.empty() &&
      std::all_of(model.input_names.begin(), model.input_names.end(), [&](const std::string& n) {
        return std::count(names.begin(), names.end(), n) == 1;
      });
  columns_ = static_cast<uint32_t>(names.size());
  has_time_ = IsTime(names.front()) &&
              !(by_name &&
                std::count(model.input_names.begin(), model.input_names.end(), names.front()) > 0);
  input_of_.assign(columns_, -1);
  const uint32_t first = has_time_ ? 1 : 0;
  if (by_name) {
    for (uint32_t i = 0; i < model.input_names.size(); ++i) {
      const auto at = std::find(names.begin(), names.end(), model.input_names[i]);
      input_of_[static_cast<size_t>(at - names.begin())] = static_cast<int32_t>(i);
    }
  } else if (columns_ == first + model.input_width) {
    for (uint32_t i = 0; i < model.input_width; ++i) input_of_[first + i] = static_cast<int32_t>(i);
  } else {
    std::string inputs = std::to_string(model.input_width);
    for (size_t i = 0; i < model.input_names.size() && i < 16; ++i) {
      inputs += (i == 0 ? ": " : ", ") + model.input_names[i];
    }
    throw Error(Status::shape_mismatch,
                what + ": expected an optional time column and the model's inputs (" + inputs +
                    "), got the columns " + xst::formats::Printable(header, 200));
  }
}

Status CsvColumns::Parse(std::string_view row, double* t, std::span<float> x, Fault* fault) const {
  FieldReader fields(row);
  std::string_view field;
  uint32_t column = 0;
  for (; fields.Next(&field); ++column) {
    if (column >= columns_) continue;
    bool good = true;
    if (column == 0 && has_time_) {
      good = ParseDouble(field, t) && std::isfinite(*t);
    } else if (input_of_[column] >= 0) {
      good = ParseSample(field, &x[static_cast<size_t>(input_of_[column])]);
    }
    if (!good) {
      return fault->Set(Status::corrupt, "field %u: expected a number within float32, got \"%s\"",
                        column + 1, xst::formats::Printable(field).c_str());
    }
  }
  if (column != columns_) {
    return fault->Set(Status::shape_mismatch, "expected %u fields, got %u", columns_, column);
  }
  return Status::ok;
}

}  // namespace xstd
