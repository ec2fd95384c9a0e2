// safetensors files: F32, F16, BF16 and F64 tensors, read as f32.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
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

  // Opens the file and reads its header; throws Error for anything that is not a valid file.
  explicit Safetensors(const std::string& path);
  ~Safetensors();
  Safetensors(const Safetensors&) = delete;
  Safetensors& operator=(const Safetensors&) = delete;

  const std::vector<Entry>& entries() const;
  const Entry* find(const std::string& name) const;  // null if absent
  // All elements as f32. Error{tensor_mismatch} for a type that is none of the four.
  std::vector<float> read(const Entry& entry) const;
  void read(const Entry& entry, float* to) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

struct NamedTensor {
  std::string name;
  std::vector<uint64_t> shape;
  std::vector<float> values;
};
struct TensorHeader {
  std::string name;
  std::vector<uint64_t> shape;
};
// Writes f32 tensors atomically, one at a time: `values(i)` is called once per header, in order.
void WriteSafetensors(const std::string& path, const std::vector<TensorHeader>& headers,
                      const std::function<std::vector<float>(size_t)>& values);
void WriteSafetensors(const std::string& path, const std::vector<NamedTensor>& tensors);

}  // namespace xst::formats
