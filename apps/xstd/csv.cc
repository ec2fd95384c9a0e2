#include "apps/xstd/csv.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>

#include "formats/text.h"

namespace xstd {
namespace {

using xst::Error;
using xst::Fault;
using xst::Status;

std::string_view Trim(std::string_view s) {
  const auto blank = [](char c) { return c == ' ' || c == '\t' || c == '\r'; };
  while (!s.empty() && blank(s.front())) s.remove_prefix(1);
  while (!s.empty() && blank(s.back())) s.remove_suffix(1);
  if (s.size() >= 2 && s.front() == '"' && s.back() == '"') s = s.substr(1, s.size() - 2);
  return s;
}

// Takes the first field off the line; false after the last.
bool NextField(std::string_view* line, bool* more, std::string_view* field) {
  if (!*more) return false;
  const size_t comma = line->find(',');
  *field = Trim(line->substr(0, comma));
  *more = comma != std::string_view::npos;
  *line = *more ? line->substr(comma + 1) : std::string_view();
  return true;
}

// An empty field is NaN.
bool ParseNumber(std::string_view text, double* value) {
  *value = std::numeric_limits<double>::quiet_NaN();
  if (text.empty()) return true;
  if (text.front() == '+') text.remove_prefix(1);
  const char* last = text.data() + text.size();
  const auto [end, error] = std::from_chars(text.data(), last, *value);
  return error == std::errc() && end == last;
}

// Through double, as everywhere: the nearest float of the decimal text can differ in the last bit.
bool ParseSample(std::string_view text, float* value) {
  double wide;
  if (!ParseNumber(text, &wide)) return false;
  *value = static_cast<float>(wide);
  return std::isfinite(*value) || !std::isfinite(wide);
}

bool IsTime(std::string_view name) {
  std::string lower(name);
  std::transform(lower.begin(), lower.end(), lower.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return lower == "t" || lower == "time" || lower == "timestamp";
}

}  // namespace

bool IsCsvData(std::string_view line) {
  bool more = true;
  std::string_view field;
  double value;
  while (NextField(&line, &more, &field)) {
    if (!ParseNumber(field, &value)) return false;
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
  bool more = true;
  std::string_view field, rest = header;
  while (NextField(&rest, &more, &field)) names.emplace_back(field);
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
  bool more = true;
  std::string_view field;
  uint32_t column = 0;
  for (; NextField(&row, &more, &field); ++column) {
    if (column >= columns_) continue;
    bool good = true;
    if (column == 0 && has_time_) {
      good = ParseNumber(field, t) && std::isfinite(*t);
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
