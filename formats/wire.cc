#include "formats/wire.h"

#include <cmath>
#include <limits>
#include <new>
#include <nlohmann/json.hpp>

#include "formats/number.h"
#include "formats/text.h"

namespace xst::formats {
namespace {

using nlohmann::json;

constexpr size_t kMaxDepth = 16;

// Takes {"t", "x", "seq"} out of one JSON object; other keys are passed over. Every callback
// returns false, with the fault set, to end the parse.
class RecordReader : public nlohmann::json_sax<json> {
 public:
  RecordReader(uint32_t width, InputRecord* out, Fault* fault)
      : width_(width), out_(*out), fault_(*fault) {}

  bool Complete() {
    if (out_.x.size() == width_) return true;
    return WrongWidth(std::to_string(out_.x.size()).c_str());
  }

  bool null() override {
    if (!Wanted()) return true;
    if (in_x_) return Sample(std::numeric_limits<float>::quiet_NaN());
    return Mistyped("null");
  }
  bool boolean(bool) override { return !Wanted() || Mistyped("a boolean"); }
  bool number_integer(int64_t value) override {
    if (!Wanted()) return true;
    if (in_x_) return Sample(static_cast<float>(value));
    return key_ == Key::t ? Time(static_cast<double>(value)) : Mistyped("a negative number");
  }
  bool number_unsigned(uint64_t value) override {
    if (!Wanted()) return true;
    if (in_x_) return Sample(static_cast<float>(value));
    if (key_ == Key::t) return Time(static_cast<double>(value));
    if (key_ != Key::seq) return Mistyped("a number");
    out_.seq = value;
    return true;
  }
  bool number_float(double value, const std::string& text) override {
    if (!Wanted()) return true;
    if (key_ == Key::t && !in_x_) return Time(value);
    if (!in_x_) return Mistyped("a fraction");
    // From the text: a float32 rounded once, not by way of double.
    float sample;
    if (!ParseFloat(text, &sample) || !std::isfinite(sample)) {
      fault_.Set(Status::corrupt, "x[%zu]: expected a float32 number, got %s", out_.x.size(),
                 Printable(text).c_str());
      return false;
    }
    return Sample(sample);
  }
  bool string(std::string& text) override {
    return !Wanted() || Mistyped(Printable('"' + text + '"', 32).c_str());
  }
  bool binary(binary_t&) override { return false; }
  bool start_object(std::size_t) override { return Open(false); }
  bool start_array(std::size_t) override { return Open(true); }
  bool end_object() override { return Close(); }
  bool end_array() override { return Close(); }
  bool key(std::string& name) override {
    if (depth_ != 1) return true;
    key_ = name == "t" ? Key::t : name == "x" ? Key::x : name == "seq" ? Key::seq : Key::other;
    if (key_ == Key::other) return true;
    bool& seen = seen_[static_cast<size_t>(key_)];
    if (seen) {
      fault_.Set(Status::corrupt, "%s: expected it once in a record, got it twice", name.c_str());
      return false;
    }
    return seen = true;
  }
  bool parse_error(std::size_t position, const std::string&, const json::exception&) override {
    fault_.Set(Status::corrupt, "record: expected valid JSON, got other text at byte %zu",
               position);
    return false;
  }

 private:
  enum class Key { t, x, seq, other };

  // Whether the value at hand belongs to a key of ours.
  bool Wanted() const { return depth_ == 0 || (key_ != Key::other && (depth_ == 1 || in_x_)); }

  bool Mistyped(const char* got) {
    if (depth_ == 0) {
      fault_.Set(Status::corrupt, "record: expected a JSON object, got %s", got);
    } else if (in_x_ || key_ == Key::x) {
      fault_.Set(Status::corrupt, "x: expected a list of numbers or null, got %s", got);
    } else {
      fault_.Set(Status::corrupt, "%s: expected %s, got %s", key_ == Key::t ? "t" : "seq",
                 key_ == Key::t ? "finite seconds" : "an integer, 0 or more", got);
    }
    return false;
  }
  bool WrongWidth(const char* got) {
    fault_.Set(Status::shape_mismatch, "x: expected %u values, got %s", width_, got);
    return false;
  }
  bool Sample(float value) {
    if (out_.x.size() == width_) return WrongWidth("more");
    out_.x.push_back(value);
    return true;
  }
  bool Time(double seconds) {
    if (!std::isfinite(seconds)) return Mistyped("another number");
    out_.t = seconds;
    return true;
  }
  bool Open(bool array) {
    if (depth_ == 0) {
      if (array) return Mistyped("a list");
    } else if (depth_ == 1 && key_ != Key::other) {
      if (!array || key_ != Key::x) return Mistyped(array ? "a list" : "an object");
      in_x_ = true;
    } else if (in_x_) {
      return Mistyped(array ? "a list" : "an object");
    }
    if (depth_ == kMaxDepth) {
      fault_.Set(Status::corrupt, "record: expected at most %zu levels, got more", kMaxDepth);
      return false;
    }
    ++depth_;
    return true;
  }
  bool Close() {
    --depth_;
    in_x_ = false;
    return true;
  }

  const uint32_t width_;
  InputRecord& out_;
  Fault& fault_;
  size_t depth_ = 0;
  Key key_ = Key::other;
  bool in_x_ = false;
  bool seen_[3] = {};
};

Status WrongCount(uint32_t width, const char* got, Fault* fault) {
  return fault->Set(Status::shape_mismatch,
                    "line: expected %u values, or a time and %u values, got %s", width, width, got);
}

Status ParseCsv(std::string_view line, uint32_t width, InputRecord* out, Fault* fault) {
  FieldReader fields(line);
  size_t count = 0;
  double first = 0;
  std::string_view first_text;
  for (std::string_view field; fields.Next(&field); ++count) {
    float value = std::numeric_limits<float>::quiet_NaN();
    if (count == width + size_t{1}) return WrongCount(width, "more", fault);
    // A time that float32 cannot hold is still a time.
    const bool good =
        field.empty() || ParseFloat(field, &value) || (count == 0 && ParseDouble(field, &first));
    if (!good) {
      return fault->Set(Status::corrupt, "field %zu: expected a float32 number, got %s", count + 1,
                        Printable(field, 32).c_str());
    }
    if (count == 0) first_text = field;
    out->x.push_back(value);
  }
  if (count == width + size_t{1}) {
    if (!ParseDouble(first_text, &first) || !std::isfinite(first)) {
      return fault->Set(Status::corrupt, "field 1: expected a time in seconds, got %s",
                        Printable(first_text, 32).c_str());
    }
    out->t = first;
    out->x.erase(out->x.begin());
    return Status::ok;
  }
  if (count == width) {
    float value;
    if (!first_text.empty() && !ParseFloat(first_text, &value)) {
      return fault->Set(Status::corrupt, "field 1: expected a float32 number, got %s",
                        Printable(first_text, 32).c_str());
    }
    return Status::ok;
  }
  return WrongCount(width, std::to_string(count).c_str(), fault);
}

void AppendString(const std::string& text, std::string* out) {
  constexpr char kHex[] = "0123456789abcdef";
  *out += '"';
  for (const char c : text) {
    const auto byte = static_cast<uint8_t>(c);
    if (c == '"' || c == '\\') {
      *out += '\\';
      *out += c;
    } else if (byte < 0x20) {
      *out += "\\u00";
      *out += kHex[byte >> 4];
      *out += kHex[byte & 15];
    } else {
      *out += c;
    }
  }
  *out += '"';
}

template <class T>
void AppendFinite(T value, std::string* out) {
  if (std::isfinite(value)) {
    AppendNumber(value, out);
  } else {
    *out += "null";
  }
}

void AppendObject(const std::vector<std::string>& names, std::span<const float> values,
                  std::string* out) {
  *out += '{';
  for (size_t i = 0; i < values.size() && i < names.size(); ++i) {
    if (i) *out += ", ";
    AppendString(names[i], out);
    *out += ": ";
    AppendFinite(values[i], out);
  }
  *out += '}';
}

}  // namespace

Status ParseInput(std::string_view message, uint32_t width, InputRecord* out, Fault* fault) {
  out->t.reset();
  out->seq.reset();
  out->x.clear();
  while (!message.empty() && message.back() == '\n') message.remove_suffix(1);
  message = Trim(message);
  try {
    if (!message.starts_with('{')) return ParseCsv(message, width, out, fault);
    RecordReader reader(width, out, fault);
    fault->status = Status::ok;
    const bool parsed = json::sax_parse(message.begin(), message.end(), &reader);
    if (parsed && reader.Complete()) return Status::ok;
    if (fault->status == Status::ok) {
      fault->Set(Status::corrupt, "record: expected valid JSON, got other text");
    }
    return fault->status;
  } catch (const std::bad_alloc&) {
    return fault->Set(Status::out_of_memory, "record: expected memory for it, got none");
  }
}

void WriteOutput(const OutputRecord& record, const std::vector<std::string>& y_names,
                 const std::vector<std::string>& x_names, std::string* out) {
  *out += "{\"timestamp\": ";
  AppendFinite(record.timestamp, out);
  *out += ", \"seq\": " + std::to_string(record.seq);
  *out += ", \"epoch\": " + std::to_string(record.epoch);
  *out += ", \"quality\": " + std::to_string(record.quality);
  *out += ", \"y\": ";
  AppendObject(y_names, record.y, out);
  *out += ", \"x\": ";
  AppendObject(x_names, record.x, out);
  *out += ", \"latency_us\": ";
  AppendFinite(record.latency_us, out);
  if (record.gap_s > 0) {
    *out += ", \"gap_s\": ";
    AppendFinite(record.gap_s, out);
  }
  if (record.times) {
    *out += ", \"t_receive\": ";
    AppendFinite(static_cast<double>(record.t_receive_ns) * 1e-9, out);
    *out += ", \"t_publish\": ";
    AppendFinite(static_cast<double>(record.t_publish_ns) * 1e-9, out);
  }
  *out += '}';
}

}  // namespace xst::formats
