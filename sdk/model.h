// A model: weights and Plan, immutable and shared by any number of streams.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "formats/config.h"
#include "formats/manifest.h"
#include "formats/status.h"
#include "sdk/device.h"

namespace xst {

enum class Arithmetic : uint8_t { automatic, single, wide };

struct Options {
  Device device;
  std::string isa;  // "scalar", "avx2", "avx512", "neon"; empty: the best this CPU has
  // What activations and sums are made in; automatic: double up to 131,072 parameters and as many
  // values of state, where it costs next to nothing. State is float between steps either way.
  Arithmetic arithmetic = Arithmetic::automatic;
  // cuda: the kernel of a Session whose model fits the chip stays there between steps and polls; a
  // step then takes less than half the time of a launch. It holds up to 16 multiprocessors, and
  // leaves after 2 ms without a step, or after 200 ms to let others in; the next step brings it
  // back.
  bool resident = false;
  // cuda, xLSTM Large with a Session: forward() rounds what lies between matrix products to bf16,
  // which the tensor cores take: as good as bf16 weights, the logits off by about 1e-2 of the
  // largest, more where a step is ill-conditioned. The state and every step stay float. Without
  // cuBLASLt forward() returns no_device.
  bool bf16_forward = false;
  bool check_full = false;  // verify every weight of a file that is only mapped (>= 64 MiB)
  // A model in memory is used where it lies, 64-byte aligned, and not copied; the memory outlives
  // the model and stays as it is.
  bool in_place = false;
};

// What a model is and costs. Widths are in values of one step: tokens are one value.
struct ModelInfo {
  formats::ModelConfig config;
  formats::DType dtype = formats::DType::f32;
  bool tokens = false;                   // the input is a token id
  uint32_t input_width = 0;              // channels of a sample (wrapped), D, or 1 token
  uint32_t output_width = 0;             // values, D, or vocabulary
  std::vector<std::string> input_names;  // wrapped models only, else empty
  std::vector<std::string> input_units;
  std::vector<std::string> output_names;
  std::vector<std::string> output_units;
  double rate_hz = 0;          // 0: no clock
  uint64_t weight_bytes = 0;   // read by one step
  uint64_t state_bytes = 0;    // persistent state of one stream, as f32
  uint64_t session_bytes = 0;  // memory of a Session beside the object
  uint64_t snapshot_bytes = 0;
  uint64_t parameters = 0;
  uint64_t flops = 0;  // of one step, products and cells
  uint64_t file_bytes = 0;
  uint32_t probe_steps = 0;                       // 0: the file has no probe
  std::string arch_hash, source_hash, file_hash;  // hexadecimal
  std::string config_yaml, packer, source;        // provenance
  std::string device, isa, arithmetic;            // as opened
};

// The packed probe (design: "every device can prove itself in the field").
struct ProbeResult {
  uint32_t steps = 0;
  double error = 0;            // max |output - expected_stored|; infinite if not finite alike
  double error_full = 0;       // max |output - expected|
  double error_framework = 0;  // max |output - framework|, NaN without one
  double largest = 0;          // max |expected_stored|
  double bound = 0;            // of this device kind
  bool pass() const { return error <= bound; }
};

struct ModelCore;

// Thread-safe. Every stream of it keeps it alive.
class Model : public std::enable_shared_from_this<Model> {
 public:
  // Opens a .xst file, or a model in memory (copied, unless used in place). Throws Error; on cpu:N
  // out_of_memory where a thread cannot be started.
  static std::shared_ptr<const Model> open(const std::string& path, const Options& options = {});
  static std::shared_ptr<const Model> open(std::span<const std::byte> memory,
                                           const Options& options = {});

  const ModelInfo& info() const;

  // Replays the packed probe in a fresh stream. Throws Error{not_found} if the file has none.
  ProbeResult verify() const;

  // Internal: what a Session steps.
  const ModelCore& core() const { return *core_; }

  ~Model();

 private:
  explicit Model(std::unique_ptr<const ModelCore> core);
  std::unique_ptr<const ModelCore> core_;
};

// Names of the CPU instruction sets this machine and build have, best first.
std::vector<std::string> AvailableIsas();

}  // namespace xst
