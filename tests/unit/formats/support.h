// What the tests of formats/ share: a scratch folder, aligned bytes, random checkpoints.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <random>
#include <span>
#include <sstream>
#include <string>
#include <vector>

#include "formats/manifest.h"
#include "formats/model_file.h"
#include "formats/pack.h"
#include "formats/safetensors.h"

namespace xst::formats::test {

// A folder of its own, removed at the end.
class ScratchFolder {
 public:
  ScratchFolder() {
    std::string name = (std::filesystem::temp_directory_path() / "xst-formats-XXXXXX").string();
    if (!mkdtemp(name.data())) std::abort();
    path_ = name;
  }
  ~ScratchFolder() { std::filesystem::remove_all(path_); }
  ScratchFolder(const ScratchFolder&) = delete;
  ScratchFolder& operator=(const ScratchFolder&) = delete;

  std::string operator/(const std::string& name) const { return (path_ / name).string(); }
  std::string path() const { return path_.string(); }
  size_t files() const {
    size_t n = 0;
    for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator(path_)) ++n;
    return n;
  }

 private:
  std::filesystem::path path_;
};

inline std::string ReadText(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  std::ostringstream text;
  text << in.rdbuf();
  return text.str();
}

inline void WriteText(const std::string& path, const std::string& text) {
  std::ofstream(path, std::ios::binary) << text;
}

// A copy at a 64-byte boundary with nothing behind it that a sanitizer would let pass.
class AlignedBytes {
 public:
  explicit AlignedBytes(std::span<const std::byte> from) : size_(from.size()) {
    if (posix_memalign(&data_, 64, size_ > 0 ? size_ : 1) != 0) std::abort();
    if (size_ > 0) std::memcpy(data_, from.data(), size_);
  }
  explicit AlignedBytes(const std::string& text)
      : AlignedBytes(std::as_bytes(std::span(text.data(), text.size()))) {}
  ~AlignedBytes() { std::free(data_); }
  AlignedBytes(const AlignedBytes&) = delete;
  AlignedBytes& operator=(const AlignedBytes&) = delete;

  std::span<std::byte> bytes() const { return {static_cast<std::byte*>(data_), size_}; }

 private:
  void* data_ = nullptr;
  size_t size_;
};

// The configuration file of a case: YAML, or a hub checkpoint's JSON.
inline std::string ConfigOf(const std::string& folder) {
  const std::string yaml = folder + "/config.yaml";
  return std::filesystem::exists(yaml) ? yaml : folder + "/config.json";
}

// A probe that is what it is told, true or not.
class FixedProbe : public ProbeMaker {
 public:
  explicit FixedProbe(Probe probe) : probe_(std::move(probe)) {}
  void Begin(const ModelConfig&, Probe* probe) override { *probe = probe_; }
  void Finish(const std::string&, Probe* probe) override { *probe = probe_; }

 private:
  Probe probe_;
};

// Random tensors for every source of a configuration.
inline std::vector<NamedTensor> RandomCheckpoint(const ModelConfig& config, uint32_t seed) {
  std::mt19937 bits(seed);
  std::vector<NamedTensor> tensors;
  for (const TensorSpec& spec : Manifest(config)) {
    for (const Source& source : spec.sources) {
      NamedTensor tensor{source.name, source.shape, {}};
      uint64_t size = 1;
      for (const uint64_t axis : source.shape) size *= axis;
      for (uint64_t i = 0; i < size; ++i) {
        tensor.values.push_back(static_cast<float>(static_cast<int32_t>(bits())) * 0x1p-32f);
      }
      tensors.push_back(std::move(tensor));
    }
  }
  return tensors;
}

inline const std::vector<std::string>& VectorCases() {
  static const std::vector<std::string> kCases = [] {
    std::vector<std::string> found;
    for (const char* suite : {"block_stack", "stream", "large", "tirex"}) {
      for (const auto& entry :
           std::filesystem::directory_iterator(std::string(XST_TEST_DATA) + "/" + suite)) {
        if (entry.is_directory()) found.push_back(entry.path().string());
      }
    }
    return found;
  }();
  return kCases;
}

}  // namespace xst::formats::test
