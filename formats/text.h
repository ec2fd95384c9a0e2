// Text from outside: validity, and a form that is safe to print.
#pragma once

#include <string>
#include <string_view>

namespace xst::formats {

// Well-formed UTF-8 without NUL.
bool IsUtf8(std::string_view text);

// A name that can head a CSV column and be a JSON key: 1 to 128 bytes of UTF-8 without control
// characters, commas and double quotes.
bool IsName(std::string_view text);

// For messages: control characters and bytes that are not ASCII become '?', long texts are cut.
std::string Printable(std::string_view text, size_t limit = 64);

}  // namespace xst::formats
