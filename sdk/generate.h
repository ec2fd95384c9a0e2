// Choosing the next token of a language model from its logits.
#pragma once

#include <cstdint>
#include <random>
#include <span>
#include <vector>

#include "formats/status.h"

namespace xst {

// As Hugging Face's generate: temperature first, then top_k, then top_p, then one draw.
struct SamplerOptions {
  double temperature = 0;  // 0: greedy, the first of the largest logits
  uint64_t top_k = 0;      // the k most likely, and whatever ties with the last of them; 0: all
  double top_p = 1;        // of those the most likely whose probabilities reach top_p together
  uint64_t seed = 0;
};

// One stream of draws. The same logits give the same tokens for a seed with the same C library. No
// allocation after creation.
class Sampler {
 public:
  // Throws Error{invalid_argument} for an option outside its range, Error{out_of_memory}.
  Sampler(uint32_t vocabulary, const SamplerOptions& options);

  // `logits`: as many as the vocabulary. Errors: shape_mismatch; invalid_argument, if one is not
  // finite. Nothing is drawn then.
  Status Next(std::span<const float> logits, uint32_t* token) noexcept;

 private:
  void KeepTopK(std::span<const float> logits) noexcept;
  void KeepTopP(std::span<const float> logits) noexcept;
  uint32_t Draw() noexcept;

  const uint32_t vocabulary_;
  const SamplerOptions options_;
  std::mt19937_64 random_;
  std::vector<uint32_t> kept_;  // candidates
  std::vector<double> weight_;  // of each token, relative to the likeliest
  std::vector<float> ranked_;   // scratch of KeepTopK
  double total_ = 0;            // weight of the candidates
};

}  // namespace xst
