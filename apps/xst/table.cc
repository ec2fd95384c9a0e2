#include "apps/xst/table.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <filesystem>
#include <optional>

#include "apps/xst/commands.h"
#include "formats/checked.h"
#include "formats/npy.h"
#include "sdk/session.h"

namespace xst::cli {
namespace {

[[noreturn]] void Mismatch(const std::string& what, const std::string& expected,
                           const std::string& got, Status status = Status::shape_mismatch) {
  throw Error(status, what + ": expected " + expected + ", got " + got);
}

std::string Joined(const std::vector<std::string>& names) {
  std::string text;
  for (const std::string& name : names) text += (text.empty() ? "" : ",") + name;
  return text;
}

std::string Label(const std::string& path) { return path == "-" ? "standard input" : path; }

// Index of element `flat` in an array of this shape.
std::string IndexOf(uint64_t flat, const std::vector<uint64_t>& shape) {
  std::vector<uint64_t> index(shape.size());
  for (size_t axis = shape.size(); axis-- > 0; flat /= shape[axis]) {
    index[axis] = flat % shape[axis];
  }
  return Bracketed(index);
}

// Where each input is among the columns; nothing if one is missing.
std::optional<std::vector<size_t>> FindByName(const std::vector<std::string>& wanted,
                                              const std::vector<std::string>& columns,
                                              const std::string& label) {
  std::vector<size_t> found;
  for (const std::string& name : wanted) {
    const auto at = std::find(columns.begin(), columns.end(), name);
    if (at == columns.end()) return std::nullopt;
    if (std::find(at + 1, columns.end(), name) != columns.end()) {
      Mismatch(label, "one column " + name, "several");
    }
    found.push_back(static_cast<size_t>(at - columns.begin()));
  }
  return found;
}

// Brings a CSV table into the model's shape: [rows][input width], or [rows] ids.
formats::Array FromCsv(const std::string& path, const ModelInfo& info) {
  const std::string label = Label(path);
  std::vector<std::string> columns;
  formats::Array table = formats::ReadCsv(path, &columns);
  const uint64_t rows = table.shape[0], width = info.input_width;
  if (const auto places = FindByName(info.input_names, columns, label);
      places && !info.input_names.empty()) {
    std::vector<float> picked;
    picked.reserve(rows * width);
    for (uint64_t r = 0; r < rows; ++r) {
      for (const size_t c : *places) picked.push_back(table.f32[r * columns.size() + c]);
    }
    table.f32 = std::move(picked);
    table.shape = {rows, width};
  } else if (columns.size() != width) {
    std::string expected = std::to_string(width) + (width == 1 ? " column" : " columns");
    if (!info.input_names.empty()) expected += " or those named " + Joined(info.input_names);
    Mismatch(label, expected, std::to_string(columns.size()) + ": " + Joined(columns));
  }
  if (!info.tokens) return table;
  formats::Array ids;
  ids.is_f32 = false;
  ids.shape = {rows};
  for (uint64_t r = 0; r < rows; ++r) {
    const float value = table.f32[r];
    if (!(std::fabs(value) <= static_cast<float>(formats::kMaxVocab)) ||
        value != std::floor(value)) {
      Mismatch(label, "whole token ids", std::to_string(value) + " in row " + std::to_string(r),
               Status::invalid_argument);
    }
    ids.i64.push_back(static_cast<int64_t>(value));
  }
  return ids;
}

void CheckTokens(const std::string& label, const formats::Array& ids, const ModelInfo& info) {
  const auto vocabulary = static_cast<int64_t>(formats::VocabSize(info.config));
  for (uint64_t i = 0; i < ids.i64.size(); ++i) {
    if (ids.i64[i] < 0 || ids.i64[i] >= vocabulary) {
      Mismatch(label, "tokens in [0, " + std::to_string(vocabulary) + ")",
               std::to_string(ids.i64[i]) + " at index " + IndexOf(i, ids.shape),
               Status::invalid_argument);
    }
  }
}

void CheckFinite(const std::string& label, const formats::Array& values) {
  for (uint64_t i = 0; i < values.f32.size(); ++i) {
    if (!IsUsable(values.f32[i])) {
      Mismatch(label,
               "finite values up to 1e30 (this model has no stream: wrapper to replace others)",
               std::to_string(values.f32[i]) + " at index " + IndexOf(i, values.shape),
               Status::invalid_argument);
    }
  }
}

}  // namespace

size_t CountFloats(const char* what, std::initializer_list<uint64_t> shape) {
  formats::Checked count(1);
  for (const uint64_t axis : shape) count = count * axis;
  if (!count.FitsIn(PTRDIFF_MAX / sizeof(int64_t))) {  // tokens are as many at most
    throw Error(Status::out_of_memory, std::string(what) + ": expected memory for " +
                                           Bracketed(shape) + " values, got " +
                                           std::to_string(8 * sizeof(size_t)) + "-bit addresses");
  }
  return static_cast<size_t>(count.value());
}

std::string Bracketed(const std::vector<uint64_t>& numbers) {
  std::string text = "[";
  for (size_t i = 0; i < numbers.size(); ++i) {
    text += (i ? ", " : "") + std::to_string(numbers[i]);
  }
  return text + "]";
}

TableFormat FormatOf(const std::string& path, const std::string& option, TableFormat stdio_format) {
  if (path == "-") return stdio_format;
  const std::string extension = std::filesystem::path(path).extension().string();
  if (extension == ".npy") return TableFormat::npy;
  if (extension == ".csv") return TableFormat::csv;
  throw UsageError(option + ": expected a name that ends in .npy or .csv, or -, got " + path);
}

Sequence ReadSequence(const std::string& path, TableFormat format, const ModelInfo& info) {
  const std::string label = Label(path);
  formats::Array array = format == TableFormat::npy ? formats::ReadNpy(path) : FromCsv(path, info);
  const auto& shape = array.shape;
  Sequence s;
  if (info.tokens) {
    if (array.is_f32) Mismatch(label, "int64 token ids", "float32");
    if (shape.empty() || shape.size() > 2) {
      Mismatch(label, "token ids [T] or [T, B]", "shape " + Bracketed(shape));
    }
    CheckTokens(label, array, info);
    s.leading = shape;
    s.tokens = std::move(array.i64);
  } else {
    if (!array.is_f32) Mismatch(label, "float32 values", "int64");
    const std::string width = std::to_string(info.input_width);
    if (shape.size() < 2 || shape.size() > 3 || shape.back() != info.input_width) {
      Mismatch(label, "shape [T, " + width + "] or [T, B, " + width + "]", Bracketed(shape));
    }
    if (!info.config.stream) CheckFinite(label, array);
    s.leading.assign(shape.begin(), shape.end() - 1);
    s.values = std::move(array.f32);
  }
  s.steps = s.leading[0];
  s.columns = s.leading.size() == 2 ? s.leading[1] : 1;
  return s;
}

void WriteSequence(const std::string& path, TableFormat format, const ModelInfo& info,
                   const std::vector<uint64_t>& leading, const std::vector<float>& values) {
  if (format == TableFormat::npy) {
    std::vector<uint64_t> shape = leading;
    shape.push_back(info.output_width);
    formats::WriteNpy(path, shape, values.data());
    return;
  }
  std::vector<std::string> names = info.output_names;
  for (uint32_t i = 0; names.size() < info.output_width; ++i) {
    names.push_back("y" + std::to_string(i));
  }
  formats::WriteCsv(path, names, leading[0], values.data());
}

}  // namespace xst::cli
