#include "formats/number.h"

#include <charconv>
#include <cmath>

namespace xst::formats {
namespace {

template <class T>
bool Parse(std::string_view text, T* value) {
  if (!text.empty() && text[0] == '+') text.remove_prefix(1);
  if (text.empty() || text.find('(') != std::string_view::npos) return false;  // nan(payload)
  const char* end = text.data() + text.size();
  const auto parsed = std::from_chars(text.data(), end, *value);
  if (parsed.ptr != end) return false;
  if (parsed.ec == std::errc()) return true;
  if (parsed.ec != std::errc::result_out_of_range) return false;
  // Too large or too small: the wider type tells them apart.
  long double wide = 0;
  const auto again = std::from_chars(text.data(), end, wide);
  if (again.ec != std::errc() || std::fabs(wide) > 1) return false;
  *value = std::copysign(T(0), static_cast<T>(wide));
  return true;
}

template <class T>
void Append(T value, std::string* out) {
  char digits[40];
  const auto written = std::to_chars(digits, digits + sizeof digits, value);
  out->append(digits, written.ptr);
}

}  // namespace

bool ParseFloat(std::string_view text, float* value) { return Parse(text, value); }
bool ParseDouble(std::string_view text, double* value) { return Parse(text, value); }
void AppendNumber(float value, std::string* out) { Append(value, out); }
void AppendNumber(double value, std::string* out) { Append(value, out); }

std::string_view Trim(std::string_view text) {
  const auto blank = [](char c) { return c == ' ' || c == '\t' || c == '\r'; };
  while (!text.empty() && blank(text.front())) text.remove_prefix(1);
  while (!text.empty() && blank(text.back())) text.remove_suffix(1);
  return text;
}

bool FieldReader::Next(std::string_view* field) {
  if (done_) return false;
  const size_t comma = rest_.find(',');
  *field = Trim(rest_.substr(0, comma));
  done_ = comma == std::string_view::npos;
  if (!done_) rest_.remove_prefix(comma + 1);
  return true;
}

}  // namespace xst::formats
