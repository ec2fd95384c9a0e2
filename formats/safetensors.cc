#include "formats/safetensors.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <nlohmann/json.hpp>
#include <unordered_map>

#include "formats/output_file.h"
#include "formats/safetensors_header.h"
#include "formats/status.h"

namespace xst::formats {
namespace {

constexpr uint64_t kMaxHeader = 100'000'000;
constexpr size_t kChunk = size_t{1} << 20;

float FromF16(uint16_t bits) {
  const uint32_t sign = uint32_t{bits} >> 15 << 31, exponent = bits >> 10 & 31;
  const uint32_t mantissa = bits & 1023;
  if (exponent == 31) return std::bit_cast<float>(sign | 0x7F800000 | mantissa << 13);
  if (exponent > 0) return std::bit_cast<float>(sign | (exponent + 112) << 23 | mantissa << 13);
  const float small = std::ldexp(static_cast<float>(mantissa), -24);
  return sign ? -small : small;
}

template <class T>
T Load(const char* from) {
  T value;
  memcpy(&value, from, sizeof value);
  return value;
}

void ConvertAll(const char* from, size_t count, const std::string& dtype, float* to) {
  if (dtype == "BF16") {
    for (size_t i = 0; i < count; ++i) {
      to[i] = std::bit_cast<float>(uint32_t{Load<uint16_t>(from + 2 * i)} << 16);
    }
  } else if (dtype == "F16") {
    for (size_t i = 0; i < count; ++i) to[i] = FromF16(Load<uint16_t>(from + 2 * i));
  } else {
    for (size_t i = 0; i < count; ++i) to[i] = static_cast<float>(Load<double>(from + 8 * i));
  }
}

}  // namespace

struct Safetensors::Impl {
  std::string path;
  int fd = -1;
  std::vector<Entry> entries;
  std::unordered_map<std::string, size_t> index;

  ~Impl() {
    if (fd >= 0) close(fd);
  }

  void Read(uint64_t offset, char* to, size_t size) const {
    while (size > 0) {
      const ssize_t n = pread(fd, to, size, static_cast<off_t>(offset));
      if (n < 0 && errno == EINTR) continue;
      if (n <= 0) {
        throw Error(n < 0 ? Status::io_error : Status::truncated,
                    path + ": expected " + std::to_string(size) + " more bytes, got " +
                        (n < 0 ? strerror(errno) : "the end of the file"));
      }
      to += n;
      offset += static_cast<uint64_t>(n);
      size -= static_cast<size_t>(n);
    }
  }
};

Safetensors::Safetensors(const std::string& path) : impl_(std::make_unique<Impl>()) {
  impl_->path = path;
  impl_->fd = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (impl_->fd < 0) {
    throw Error(errno == ENOENT ? Status::not_found : Status::io_error,
                path + ": expected a safetensors file, got " + strerror(errno));
  }
  struct stat info;
  if (fstat(impl_->fd, &info) != 0 || !S_ISREG(info.st_mode)) {
    throw Error(Status::io_error, path + ": expected a regular file, got something else");
  }
  const auto file_bytes = static_cast<uint64_t>(info.st_size);
  char head[8];
  if (file_bytes < sizeof head) {
    throw Error(Status::truncated, path + ": expected a safetensors file, got " +
                                       std::to_string(file_bytes) + " bytes");
  }
  impl_->Read(0, head, sizeof head);
  const auto length = Load<uint64_t>(head);
  if (length > kMaxHeader || length > file_bytes - sizeof head) {
    throw Error(Status::corrupt, path + ": header: expected at most " +
                                     std::to_string(std::min(kMaxHeader, file_bytes - 8)) +
                                     " bytes, got " + std::to_string(length));
  }
  std::string header(length, '\0');
  impl_->Read(sizeof head, header.data(), length);
  impl_->entries = ParseSafetensorsHeader(header, sizeof head + length, file_bytes, path);
  for (size_t i = 0; i < impl_->entries.size(); ++i) impl_->index[impl_->entries[i].name] = i;
}

Safetensors::~Safetensors() = default;

const std::vector<Safetensors::Entry>& Safetensors::entries() const { return impl_->entries; }

const Safetensors::Entry* Safetensors::find(const std::string& name) const {
  const auto found = impl_->index.find(name);
  return found == impl_->index.end() ? nullptr : &impl_->entries[found->second];
}

std::vector<float> Safetensors::read(const Entry& entry) const {
  const uint64_t size = SafetensorsElementSize(entry.dtype);
  std::vector<float> values(size ? entry.length / size : 0);
  read(entry, values.data());
  return values;
}

void Safetensors::read(const Entry& entry, float* to) const {
  const std::string& dtype = entry.dtype;
  if (dtype != "F32" && dtype != "F16" && dtype != "BF16" && dtype != "F64") {
    throw Error(Status::tensor_mismatch, impl_->path + ": tensor " + entry.name +
                                             ": expected F32, F16, BF16 or F64, got " + dtype);
  }
  const uint64_t size = SafetensorsElementSize(dtype);
  if (dtype == "F32") {
    impl_->Read(entry.offset, reinterpret_cast<char*>(to), entry.length);
    return;
  }
  std::vector<char> chunk(std::min<uint64_t>(kChunk, entry.length));
  for (uint64_t at = 0; at < entry.length; at += chunk.size()) {
    const size_t bytes = std::min<uint64_t>(chunk.size(), entry.length - at);
    impl_->Read(entry.offset + at, chunk.data(), bytes);
    ConvertAll(chunk.data(), bytes / size, dtype, to + at / size);
  }
}

void WriteSafetensors(const std::string& path, const std::vector<TensorHeader>& headers,
                      const std::function<std::vector<float>(size_t)>& values) {
  // As text: a JSON tree allocates when it is destroyed, and ends the program where it cannot.
  std::string text = "{";
  uint64_t offset = 0;
  for (const TensorHeader& tensor : headers) {
    uint64_t bytes = sizeof(float);
    std::string shape;
    for (const uint64_t axis : tensor.shape) {
      bytes *= axis;
      if (!shape.empty()) shape += ',';
      shape += std::to_string(axis);
    }
    if (text.size() > 1) text += ',';
    text += nlohmann::json(tensor.name).dump() + ":{\"dtype\":\"F32\",\"shape\":[" + shape +
            "],\"data_offsets\":[" + std::to_string(offset) + "," + std::to_string(offset + bytes) +
            "]}";
    offset += bytes;
  }
  text += '}';
  text.resize((text.size() + 7) / 8 * 8, ' ');
  const uint64_t length = text.size();

  OutputFile file(path);
  file.Write(&length, sizeof length);
  file.Write(text.data(), text.size());
  for (size_t i = 0; i < headers.size(); ++i) {
    const std::vector<float> tensor = values(i);
    uint64_t expected = 1;
    for (const uint64_t axis : headers[i].shape) expected *= axis;
    if (tensor.size() != expected) {
      throw Error(Status::shape_mismatch, "tensor " + headers[i].name + ": expected " +
                                              std::to_string(expected) + " values, got " +
                                              std::to_string(tensor.size()));
    }
    file.Write(tensor.data(), tensor.size() * sizeof(float));
  }
  file.Commit();
}

void WriteSafetensors(const std::string& path, const std::vector<NamedTensor>& tensors) {
  std::vector<TensorHeader> headers;
  for (const NamedTensor& tensor : tensors) headers.push_back({tensor.name, tensor.shape});
  WriteSafetensors(path, headers, [&](size_t i) { return tensors[i].values; });
}

}  // namespace xst::formats
