// The JSON header of a safetensors file.
#pragma once

#include <string>
#include <vector>

#include "formats/safetensors.h"

namespace xst::formats {

// Bytes of one element; 0 for a type the format does not know.
uint64_t SafetensorsElementSize(const std::string& dtype);

// Entries in file order. `data_start` and `file_bytes` place the data; `name` is the file's. Throws
// Error{corrupt} unless the entries cover the data exactly, once, each with the bytes of its shape.
std::vector<Safetensors::Entry> ParseSafetensorsHeader(const std::string& json, uint64_t data_start,
                                                       uint64_t file_bytes,
                                                       const std::string& name);

}  // namespace xst::formats
