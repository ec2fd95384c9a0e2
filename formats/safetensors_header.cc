#include "formats/safetensors_header.h"

#include <algorithm>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <unordered_set>

#include "formats/checked.h"
#include "formats/status.h"
#include "formats/text.h"

namespace xst::formats {
namespace {

using nlohmann::json;

constexpr size_t kMaxAxes = 8;
constexpr uint64_t kMostElements = PTRDIFF_MAX / sizeof(float);  // they are read as floats

// {"NAME": {"dtype": "F32", "shape": [..], "data_offsets": [begin, end]}, "__metadata__": {..}}
class HeaderReader : public nlohmann::json_sax<json> {
 public:
  std::vector<Safetensors::Entry> entries;
  std::string error;

  bool null() override { return Refuse("null"); }
  bool boolean(bool) override { return Refuse("a boolean"); }
  bool number_integer(int64_t) override { return Refuse("a negative number"); }
  bool number_float(double, const std::string&) override { return Refuse("a fraction"); }
  bool binary(binary_t&) override { return Refuse("binary data"); }
  bool number_unsigned(uint64_t value) override {
    if (depth_ != 3 || metadata_) return Refuse("a number");
    numbers_.push_back(value);
    return numbers_.size() <= kMaxAxes || Refuse("more axes than 8");
  }
  bool string(std::string& text) override {
    if (depth_ == 2 && metadata_) return true;
    if (depth_ != 2 || key_ != "dtype") return Refuse("a string");
    entries.back().dtype = text;
    return true;
  }
  bool start_object(std::size_t) override {
    if (depth_ == 1 && !metadata_) {
      entries.push_back({name_, "", {}, 0, 0});
      seen_ = 0;
    } else if (depth_ > 1) {
      return Refuse("an object");
    }
    ++depth_;
    return true;
  }
  bool end_object() override {
    --depth_;
    if (depth_ == 1 && !metadata_ && seen_ != 7) {
      return Fail(Printable(name_, 128) + ": expected dtype, shape and data_offsets, got fewer");
    }
    if (depth_ == 1) metadata_ = false;
    return true;
  }
  bool start_array(std::size_t) override {
    if (depth_ != 2 || metadata_ || (key_ != "shape" && key_ != "data_offsets")) {
      return Refuse("a list");
    }
    numbers_.clear();
    ++depth_;
    return true;
  }
  bool end_array() override {
    --depth_;
    Safetensors::Entry& entry = entries.back();
    if (key_ == "shape") {
      entry.shape = numbers_;
      return true;
    }
    if (numbers_.size() != 2 || numbers_[0] > numbers_[1]) {
      return Fail(Printable(name_, 128) + ": expected data_offsets [begin, end], got others");
    }
    entry.offset = numbers_[0];
    entry.length = numbers_[1] - numbers_[0];
    return true;
  }
  bool key(std::string& text) override {
    if (depth_ == 1) {
      if (text.empty() || !IsUtf8(text)) return Fail("expected tensor names, got an odd one");
      if (!names_.insert(text).second) {
        return Fail(Printable(text) + ": expected the name once, got it twice");
      }
      metadata_ = text == "__metadata__";
      name_ = text;
      return true;
    }
    if (metadata_) return true;
    const int bit = text == "dtype" ? 1 : text == "shape" ? 2 : text == "data_offsets" ? 4 : 0;
    if (bit == 0 || (seen_ & bit) != 0) {
      return Fail(Printable(name_) + ": expected dtype, shape and data_offsets once, got " +
                  Printable(text));
    }
    seen_ |= bit;
    key_ = text;
    return true;
  }
  bool parse_error(std::size_t position, const std::string&, const json::exception&) override {
    return Fail("expected valid JSON, got other text at byte " + std::to_string(position));
  }

 private:
  bool Fail(const std::string& what) {
    error = what;
    return false;
  }
  bool Refuse(const char* got) {
    return Fail(depth_ < 2
                    ? std::string("expected an object of tensors, got ") + got
                    : Printable(name_) + ": expected dtype, shape and data_offsets, got " + got);
  }

  size_t depth_ = 0;
  bool metadata_ = false;
  int seen_ = 0;
  std::string name_, key_;
  std::vector<uint64_t> numbers_;
  std::unordered_set<std::string> names_;
};

}  // namespace

uint64_t SafetensorsElementSize(const std::string& dtype) {
  static constexpr struct {
    const char* name;
    uint64_t size;
  } kTypes[] = {{"F32", 4}, {"F16", 2}, {"BF16", 2},    {"F64", 8},     {"I64", 8},
                {"I32", 4}, {"I16", 2}, {"I8", 1},      {"U64", 8},     {"U32", 4},
                {"U16", 2}, {"U8", 1},  {"F8_E4M3", 1}, {"F8_E5M2", 1}, {"BOOL", 1}};
  for (const auto& type : kTypes) {
    if (dtype == type.name) return type.size;
  }
  return 0;
}

std::vector<Safetensors::Entry> ParseSafetensorsHeader(const std::string& text, uint64_t data_start,
                                                       uint64_t file_bytes,
                                                       const std::string& name) {
  const auto fail = [&](const std::string& what) {
    throw Error(Status::corrupt, name + ": header: " + what);
  };
  HeaderReader reader;
  if (!json::sax_parse(text, &reader)) {
    fail(reader.error.empty() ? "expected valid JSON, got other text" : reader.error);
  }
  auto entries = std::move(reader.entries);
  std::sort(entries.begin(), entries.end(), [](const auto& a, const auto& b) {
    return a.offset != b.offset ? a.offset < b.offset : a.length < b.length;
  });
  uint64_t end = 0;
  for (auto& entry : entries) {
    const std::string tensor = Printable(entry.name, 128);
    const uint64_t size = SafetensorsElementSize(entry.dtype);
    if (size == 0) fail(tensor + ": expected a known dtype, got " + Printable(entry.dtype));
    Checked bytes = size;
    for (const uint64_t axis : entry.shape) bytes = bytes * axis;
    if (!bytes.Equals(entry.length)) {
      fail(tensor + ": expected " +
           (bytes.valid() ? std::to_string(bytes.value()) : "more than 2^64") +
           " bytes for its shape, got " + std::to_string(entry.length));
    }
    if (entry.offset != end) {
      fail(tensor + ": expected its data at " + std::to_string(end) +
           ", right behind the tensor before, got " + std::to_string(entry.offset));
    }
    end = entry.offset + entry.length;  // begin + (end - begin): the header's own number
    if (end > file_bytes - data_start) {
      fail(tensor + ": expected its data in the file, got an end at " + std::to_string(end) +
           " of " + std::to_string(file_bytes - data_start));
    }
    if (entry.length / size > kMostElements) {
      fail(tensor + ": expected a tensor for " + std::to_string(8 * sizeof(size_t)) +
           "-bit addresses, got " + std::to_string(entry.length) + " bytes");
    }
    entry.offset += data_start;
  }
  if (end != file_bytes - data_start) {
    fail("expected tensors to fill the file's " + std::to_string(file_bytes - data_start) +
         " bytes of data, got " + std::to_string(end));
  }
  return entries;
}

}  // namespace xst::formats
