// Numbers as text, the same in every locale.
#pragma once

#include <string>
#include <string_view>

namespace xst::formats {

// Reads all of `text`, rounded once to float32; "nan" and "inf" in any case too. False for anything
// else and for a number outside float32's range; one too small becomes 0.
bool ParseFloat(std::string_view text, float* value);
bool ParseDouble(std::string_view text, double* value);

// Appends the shortest text that reads back to the same value.
void AppendNumber(float value, std::string* out);
void AppendNumber(double value, std::string* out);

// Without blanks and carriage returns at both ends.
std::string_view Trim(std::string_view text);
// Cuts the next field off `rest`: up to a comma or the end, trimmed. False once nothing is left;
// an empty text is one empty field.
class FieldReader {
 public:
  explicit FieldReader(std::string_view line) : rest_(line) {}
  bool Next(std::string_view* field);

 private:
  std::string_view rest_;
  bool done_ = false;
};

}  // namespace xst::formats
