// A model file as C source, for programs that carry their model.
#pragma once

#include <cstddef>
#include <span>
#include <string>

namespace xst::formats {

// The C identifier for a file: its name without folder and ending, other characters than letters
// and digits made '_', "_xst" behind; "model_" in front of a digit.
std::string CIdentifier(const std::string& path);

// Writes `bytes` to `path` as `const unsigned char NAME[]`, 64-byte aligned, and
// `const size_t NAME_len`, in C11; NAME from the path, `about` in the comment in front.
void WriteCArray(std::span<const std::byte> bytes, const std::string& about,
                 const std::string& path);

}  // namespace xst::formats
