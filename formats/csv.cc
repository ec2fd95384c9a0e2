#include <limits>

#include "formats/npy.h"
#include "formats/number.h"
#include "formats/output_file.h"
#include "formats/status.h"
#include "formats/text.h"

namespace xst::formats {
namespace {

constexpr uint64_t kMaxBytes = uint64_t{1} << 36;

// Without one pair of quotes around it.
std::string_view Unquoted(std::string_view field) {
  if (field.size() >= 2 && field.front() == '"' && field.back() == '"') {
    return field.substr(1, field.size() - 2);
  }
  return field;
}

std::vector<std::string> ReadHeader(std::string_view line, const std::string& name) {
  std::vector<std::string> columns;
  FieldReader fields(line);
  bool numbers = true, counted = true;
  for (std::string_view field; fields.Next(&field);) {
    field = Unquoted(field);
    float number;
    numbers &= ParseFloat(field, &number);
    counted &= field == std::to_string(columns.size());  // how pandas heads unnamed columns
    columns.emplace_back(field);
    if (!IsUtf8(field)) {
      throw Error(Status::corrupt, name + " line 1: expected UTF-8, got other bytes");
    }
  }
  if (numbers && !counted) {
    throw Error(Status::corrupt,
                name + " line 1: expected a header with column names, got numbers");
  }
  return columns;
}

}  // namespace

Array ReadCsv(const std::string& path, std::vector<std::string>* columns) {
  const std::string name = path == "-" ? "standard input" : path;
  const std::string text = ReadAll(path, kMaxBytes);
  std::string_view rest = text;
  if (rest.starts_with("\xEF\xBB\xBF")) rest.remove_prefix(3);
  if (rest.empty()) throw Error(Status::truncated, name + ": expected a header line, got nothing");
  const auto next_line = [&rest] {
    const size_t end = rest.find('\n');
    const std::string_view line = rest.substr(0, end);
    rest.remove_prefix(end == std::string_view::npos ? rest.size() : end + 1);
    return line;
  };
  const std::vector<std::string> header = ReadHeader(next_line(), name);
  Array array;
  uint64_t rows = 0;
  while (!rest.empty()) {
    const std::string where = name + " line " + std::to_string(rows + 2);
    size_t count = 0;
    FieldReader fields(next_line());
    for (std::string_view field; fields.Next(&field); ++count) {
      field = Unquoted(field);
      float value = std::numeric_limits<float>::quiet_NaN();
      if (!field.empty() && !ParseFloat(field, &value)) {
        throw Error(Status::corrupt, where + ", column " + std::to_string(count + 1) +
                                         ": expected a float32 number, got " + Printable(field));
      }
      array.f32.push_back(value);
    }
    if (count != header.size()) {
      throw Error(Status::shape_mismatch, where + ": expected " + std::to_string(header.size()) +
                                              " fields, got " + std::to_string(count));
    }
    ++rows;
  }
  array.shape = {rows, header.size()};
  if (columns) *columns = header;
  return array;
}

void WriteCsv(const std::string& path, const std::vector<std::string>& columns, uint64_t rows,
              const float* values) {
  std::string text;
  for (size_t c = 0; c < columns.size(); ++c) text += (c ? "," : "") + columns[c];
  text += '\n';
  for (uint64_t r = 0; r < rows; ++r) {
    for (size_t c = 0; c < columns.size(); ++c) {
      if (c) text += ',';
      AppendNumber(values[r * columns.size() + c], &text);
    }
    text += '\n';
  }
  if (path == "-") {
    WriteStandardOutput(text.data(), text.size());
    return;
  }
  OutputFile file(path);
  file.Write(text.data(), text.size());
  file.Commit();
}

}  // namespace xst::formats
