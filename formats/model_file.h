// The model file: [64-byte header | flatbuffer directory | segments], little-endian.
// Reading is exception-free and treats every byte as hostile; what passes here satisfies every
// precondition of Plan building (all manifest tensors present, shapes and lengths exact).
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "formats/config.h"
#include "formats/manifest.h"
#include "formats/status.h"
#include "formats/version.h"

namespace xst::formats {

inline constexpr FormatVersion kModelFormat = {1, 0};
inline constexpr uint64_t kSegmentAlign = 64;

struct Hash128 {
  uint64_t low = 0, high = 0;
  bool operator==(const Hash128&) const = default;
};
// 32 digits; nothing is allocated, so that an error of a stream can name them.
struct HexText {
  char digits[33];
};
HexText Hex(const Hash128& h);

// A tensor of an opened file; pointers into the file's bytes.
struct StoredTensor {
  TensorSpec spec;
  DType dtype = DType::f32;
  const std::byte* data = nullptr;  // 64-byte aligned
  const float* scale = nullptr;     // [rows] or null
  uint64_t length = 0, scale_length = 0;
};

inline constexpr uint32_t kMaxProbeSteps = 1u << 20;

struct Probe {
  uint32_t steps = 0;                   // 0: the file has none
  std::vector<float> input;             // [steps][input width]
  std::vector<float> expected;          // [steps][output width], reference on the source weights
  std::vector<float> expected_stored;   // reference on the stored weights
  float bound_cpu = 0, bound_cuda = 0;  // absolute
  std::vector<float> framework;         // [steps][output width] or empty
};

struct Directory {
  ModelConfig config;
  std::vector<StoredTensor> tensors;  // in manifest order
  Hash128 arch_hash, source_hash;
  uint64_t file_hash = 0;    // xxh3 of the header, which seals directory and payload
  DType dtype = DType::f32;  // of the rounded tensors
  Probe probe;
  std::string packer, source, config_yaml;
};

enum class Check {
  ranges,  // header, directory, every range, scales: enough to step without a wild access
  full,    // also the payload's checksum, padding bytes and that every weight is finite
};

// Reads a model from `file` (64-byte aligned; must outlive `out`). Thread-safe. After a failure
// `out` holds what was decoded so far and must not be stepped.
Status ReadModel(std::span<const std::byte> file, Check check, Directory* out, Fault* fault);

// The configuration's text in a file that ReadModel took; it lives as long as the file.
const char* ConfigText(std::span<const std::byte> file);

// The canonical text of a resolved configuration and the hash of it with every state shape.
Hash128 ArchHash(const ModelConfig& config);

// Range and divisibility checks of a resolved configuration, shared by YAML and directory reading.
Status ValidateConfig(const ModelConfig& config, Fault* fault);

// --- writing (tools; throws Error) ---

// Elements of one manifest tensor as f32, row-major [rows][cols].
using TensorValues = std::vector<float>;

// Rounds matrices to a type with scales by more than their own values.
class Rounder {
 public:
  virtual ~Rounder() = default;
  // Changes the values to multiples of their row's scale, by at most the type's largest quantum.
  virtual void Round(const TensorSpec& spec, DType dtype, std::span<const float> scales,
                     TensorValues* values) = 0;
};

struct WriteRequest {
  ModelConfig config;
  DType dtype = DType::f32;
  Probe probe;
  std::string source, config_yaml;
  Hash128 source_hash;
  Rounder* rounder = nullptr;  // null: every weight to the nearest
};

// Writes the file atomically (temporary in the same folder, fsync, rename), tensor by tensor:
// `values(spec)` is called once per manifest tensor, in order. With `prove`, the request's probe
// has only steps and input (and the framework's output): prove(file, probe) fills the rest in from
// the otherwise complete file, before that takes its name.
void WriteModel(const std::string& path, const WriteRequest& request,
                const std::function<TensorValues(const TensorSpec&)>& values,
                const std::function<void(const std::string& file, Probe*)>& prove = {});

}  // namespace xst::formats
