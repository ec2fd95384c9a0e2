#include "formats/npy.h"

#include <cstring>
#include <string_view>

#include "formats/checked.h"
#include "formats/output_file.h"
#include "formats/status.h"
#include "formats/text.h"

namespace xst::formats {
namespace {

constexpr std::string_view kMagic("\x93NUMPY", 6);
constexpr uint64_t kMaxBytes = uint64_t{1} << 36;
constexpr size_t kMaxAxes = 32, kAlign = 64;

[[noreturn]] void Fail(const std::string& name, const std::string& expected,
                       const std::string& got) {
  throw Error(Status::corrupt, name + ": expected " + expected + ", got " + got);
}

// The header's Python dictionary, as numpy writes it.
class HeaderParser {
 public:
  HeaderParser(std::string_view text, const std::string& name) : rest_(text), name_(name) {}

  void Parse(std::string* descr, bool* fortran, std::vector<uint64_t>* shape) {
    Expect("{");
    bool have_descr = false, have_order = false, have_shape = false;
    while (!Accept("}")) {
      const std::string key = Quoted();
      Expect(":");
      if (key == "descr" && !have_descr) {
        *descr = Quoted();
        have_descr = true;
      } else if (key == "fortran_order" && !have_order) {
        *fortran = Accept("True");
        if (!*fortran) Expect("False");
        have_order = true;
      } else if (key == "shape" && !have_shape) {
        Shape(shape);
        have_shape = true;
      } else {
        Fail(name_, "the keys descr, fortran_order and shape in the header", Printable(key));
      }
      if (!Accept(",")) {
        Expect("}");
        break;
      }
    }
    Blanks();
    if (!rest_.empty() || !have_descr || !have_order || !have_shape) {
      Fail(name_, "a header with descr, fortran_order and shape", "another");
    }
  }

 private:
  void Blanks() {
    while (!rest_.empty() && (rest_[0] == ' ' || rest_[0] == '\n')) rest_.remove_prefix(1);
  }
  bool Accept(std::string_view token) {
    Blanks();
    if (!rest_.starts_with(token)) return false;
    rest_.remove_prefix(token.size());
    return true;
  }
  void Expect(std::string_view token) {
    if (!Accept(token)) Fail(name_, std::string(token) + " in the header", "other text");
  }
  std::string Quoted() {
    const char* quote = Accept("'") ? "'" : "\"";
    if (*quote == '"') Expect(quote);
    const size_t end = rest_.find(quote);
    if (end == std::string_view::npos) Fail(name_, "a quoted word in the header", "other text");
    std::string word(rest_.substr(0, end));
    rest_.remove_prefix(end + 1);
    return word;
  }
  void Shape(std::vector<uint64_t>* shape) {
    Expect("(");
    while (!Accept(")")) {
      uint64_t size = 0;
      Blanks();
      size_t digits = 0;
      for (; digits < rest_.size() && rest_[digits] >= '0' && rest_[digits] <= '9'; ++digits) {
        const Checked next = Checked(size) * 10 + static_cast<uint64_t>(rest_[digits] - '0');
        if (!next.FitsIn(kMaxBytes)) Fail(name_, "a shape of real size", "a larger one");
        size = next.value();
      }
      if (digits == 0 || shape->size() == kMaxAxes) Fail(name_, "numbers in the shape", "others");
      rest_.remove_prefix(digits);
      shape->push_back(size);
      if (!Accept(",")) {
        Expect(")");
        break;
      }
    }
  }

  std::string_view rest_;
  const std::string& name_;
};

// The header in front of an array's bytes.
std::string Header(const char* descr, const std::vector<uint64_t>& shape) {
  std::string dict = std::string("{'descr': '") + descr + "', 'fortran_order': False, 'shape': (";
  for (size_t i = 0; i < shape.size(); ++i) {
    dict += (i ? ", " : "") + std::to_string(shape[i]);
  }
  dict += shape.size() == 1 ? ",), }" : "), }";
  constexpr size_t kFixed = 10;
  const size_t padded = (kFixed + dict.size() + 1 + kAlign - 1) / kAlign * kAlign;
  dict.resize(padded - kFixed - 1, ' ');
  dict += '\n';
  std::string out(kMagic);
  out +=
      {'\x01', '\x00', static_cast<char>(dict.size() & 0xFF), static_cast<char>(dict.size() >> 8)};
  return out + dict;
}

template <class T>
void Write(const std::string& path, const char* descr, const std::vector<uint64_t>& shape,
           const T* values) {
  const std::string header = Header(descr, shape);
  size_t bytes = sizeof(T);
  for (const uint64_t n : shape) bytes *= n;
  if (path == "-") {
    WriteStandardOutput(header.data(), header.size());
    WriteStandardOutput(values, bytes);
    return;
  }
  OutputFile file(path);
  file.Write(header.data(), header.size());
  file.Write(values, bytes);
  file.Commit();
}

}  // namespace

uint64_t Array::size() const {
  uint64_t n = 1;
  for (const uint64_t axis : shape) n *= axis;
  return n;
}

Array ParseNpy(const void* bytes, size_t size, const std::string& name) {
  const std::string_view file(static_cast<const char*>(bytes), size);
  if (!file.starts_with(kMagic) || size < 12) Fail(name, "an .npy file", "another type");
  const auto byte = [&](size_t i) { return size_t{static_cast<uint8_t>(file[i])}; };
  const size_t version = byte(6);
  if (version < 1 || version > 3) Fail(name, ".npy version 1 to 3", std::to_string(version));
  size_t start = 10, length = byte(8) | byte(9) << 8;
  if (version > 1) {
    start = 12;
    length |= byte(10) << 16 | byte(11) << 24;
  }
  if (length > size - start) {
    throw Error(Status::truncated, name + ": expected a header of " + std::to_string(length) +
                                       " bytes, got " + std::to_string(size - start));
  }
  std::string descr;
  bool fortran = false;
  Array array;
  HeaderParser(file.substr(start, length), name).Parse(&descr, &fortran, &array.shape);
  if (fortran) Fail(name, "C order", "Fortran order");
  array.is_f32 = descr == "<f4";
  if (!array.is_f32 && descr != "<i8") Fail(name, "dtype <f4 or <i8", Printable(descr));
  Checked count = 1;
  for (const uint64_t axis : array.shape) count = count * axis;
  const Checked data = count * (array.is_f32 ? sizeof(float) : sizeof(int64_t));
  const std::string_view payload = file.substr(start + length);
  if (!data.Equals(payload.size())) {
    throw Error(Status::truncated,
                name + ": expected " +
                    (data.valid() ? std::to_string(data.value()) : "more than 2^64") +
                    " bytes of data for its shape, got " + std::to_string(payload.size()));
  }
  if (array.is_f32) {
    array.f32.resize(count.value());
    if (!payload.empty()) std::memcpy(array.f32.data(), payload.data(), payload.size());
  } else {
    array.i64.resize(count.value());
    if (!payload.empty()) std::memcpy(array.i64.data(), payload.data(), payload.size());
  }
  return array;
}

Array ReadNpy(const std::string& path) {
  const std::string bytes = ReadAll(path, kMaxBytes);
  return ParseNpy(bytes.data(), bytes.size(), path == "-" ? "standard input" : path);
}

void WriteNpy(const std::string& path, const std::vector<uint64_t>& shape, const float* values) {
  Write(path, "<f4", shape, values);
}

void WriteNpy(const std::string& path, const std::vector<uint64_t>& shape, const int64_t* values) {
  Write(path, "<i8", shape, values);
}

}  // namespace xst::formats
