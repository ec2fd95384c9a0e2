// Bookkeeping while a family lists its tensors.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "formats/manifest.h"

namespace xst::formats {

inline constexpr uint32_t kMinPanelRows = 16;  // fewer rows would waste a panel
inline constexpr uint32_t kMinRoundedCols = 16;

constexpr uint64_t RoundUp(uint64_t n, uint64_t to) { return (n + to - 1) / to * to; }

class ManifestBuilder {
 public:
  explicit ManifestBuilder(std::vector<TensorSpec>* out) : out_(*out) {}

  // A vector [size] from one source.
  void Vector(const std::string& name, uint64_t size, std::string source) {
    Vector(name, size, {{std::move(source), {size}}});
  }
  // A vector [size] of sources one behind the other.
  void Vector(const std::string& name, uint64_t size, std::vector<Source> sources) {
    out_.push_back({name, 1, size, Layout::rows, false, std::move(sources)});
  }

  // A matrix [rows][cols] of stacked sources.
  void Dense(const std::string& name, uint64_t rows, uint64_t cols, std::vector<Source> sources) {
    out_.push_back({name, rows, cols, rows < kMinPanelRows ? Layout::rows : Layout::panel,
                    cols >= kMinRoundedCols, std::move(sources)});
  }

  // Block-diagonal [channels][block] from [channels / block][block][block]; always panels.
  void BlockDiagonal(const std::string& name, uint64_t channels, uint64_t block,
                     std::string source) {
    out_.push_back({name,
                    channels,
                    block,
                    Layout::panel,
                    block >= kMinRoundedCols,
                    {{std::move(source), {channels / block, block, block}}}});
  }

  // Taps [kernel][channels] from [channels][1][kernel], and the bias.
  void Conv(const std::string& name, uint64_t channels, uint64_t kernel,
            const std::string& source) {
    out_.push_back({name + ".weight",
                    kernel,
                    channels,
                    Layout::rows,
                    false,
                    {{source + ".weight", {channels, 1, kernel}, Placement::transposed}}});
    Vector(name + ".bias", channels, source + ".bias");
  }

  // The four input-side maps of an sLSTM, [heads][dim][dim] each, as one matrix in gate order. The
  // parameter named fgate drives the input gate and igate the forget gate (block_stack.md 7.8,
  // tirex.md 3).
  void SlstmInput(const std::string& name, uint64_t rows, uint64_t heads, uint64_t dim,
                  const std::string& from) {
    constexpr const char* kDrives[] = {"fgate", "igate", "zgate", "ogate"};
    TensorSpec w{name, rows, dim, Layout::panel, dim >= kMinRoundedCols, {}};
    for (uint32_t g = 0; g < 4; ++g) {
      w.sources.push_back(
          {from + kDrives[g] + ".weight", {heads, dim, dim}, Placement::gate_rows, g});
    }
    out_.push_back(std::move(w));
  }

  // A gather table; `tied` it is also the head's matrix. Embeddings are always rounded.
  void Embedding(const std::string& name, uint64_t vocabulary, uint64_t cols, bool tied,
                 std::string source) {
    const bool panels = tied && vocabulary >= kMinPanelRows;
    out_.push_back({name,
                    vocabulary,
                    cols,
                    panels ? Layout::panel : Layout::rows,
                    true,
                    {{std::move(source), {vocabulary, cols}}}});
  }

  void Add(TensorSpec spec) { out_.push_back(std::move(spec)); }

 private:
  std::vector<TensorSpec>& out_;
};

// The families, each in the order its step reads.
void BlockStackManifest(ManifestBuilder& b, const ModelConfig& config);  // and lm
void LargeManifest(ManifestBuilder& b, const LargeConfig& config);
void TirexManifest(ManifestBuilder& b, const TirexConfig& config);

}  // namespace xst::formats
