// .npy arrays: little-endian float32 and int64, C order; anything else is an error.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace xst::formats {

struct Array {
  std::vector<uint64_t> shape;
  std::vector<float> f32;    // filled when is_f32
  std::vector<int64_t> i64;  // filled otherwise
  bool is_f32 = true;
  uint64_t size() const;  // product of the shape
};

// `path` "-" is standard input or output. Throw Error.
Array ReadNpy(const std::string& path);
Array ParseNpy(const void* bytes, size_t size, const std::string& name);
void WriteNpy(const std::string& path, const std::vector<uint64_t>& shape, const float* values);
void WriteNpy(const std::string& path, const std::vector<uint64_t>& shape, const int64_t* values);

// CSV with a header line: [rows][columns] float32; an empty field or "nan" is NaN. `columns` may be
// null.
Array ReadCsv(const std::string& path, std::vector<std::string>* columns);
void WriteCsv(const std::string& path, const std::vector<std::string>& columns, uint64_t rows,
              const float* values);

}  // namespace xst::formats
