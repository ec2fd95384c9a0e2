// safetensors files: F32, F16, BF16 and F64 tensors, read as f32.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace xst::formats {

class Safetensors {
 public:
  struct Entry {
    std::string name, dtype;
    std::vector<uint64_t> shape;
    uint64_t offset = 0, length = 0;  // in the file
  };

  // Maps the file read-only; throws Error for anything that is not a valid file.
  explicit Safetensors(const std::string& path);
  ~Safetensors();
  Safetensors(const Safetensors&) = delete;
  Safetensors& operator=(const Safetensors&) = delete;

  const std::vector<Entry>& entries() const;
  const Entry* find(const std::string& name) const;   // null if absent
  std::vector<float> read(const Entry& entry) const;  // all elements as f32

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

struct NamedTensor {
  std::string name;
  std::vector<uint64_t> shape;
  std::vector<float> values;
};
// Writes f32 tensors atomically.
void WriteSafetensors(const std::string& path, const std::vector<NamedTensor>& tensors);

}  // namespace xst::formats
