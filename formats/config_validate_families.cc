// The resolved configurations of xLSTM Large and TiRex.
#include <algorithm>
#include <vector>

#include "formats/validator.h"

namespace xst::formats {
namespace {

// A number that the kernels take as float32.
bool Epsilon(Validator& v, const char* what, double value) {
  return v.Finite(what, value) &&
         v.Expect(value >= 1e-30 && value <= 1e30,
                  (std::string(what) + ": expected 1e-30 to 1e30, got another").c_str());
}

bool Cap(Validator& v, const char* what, double value) {
  return v.Finite(what, value) &&
         v.Expect(
             value == 0 || (value >= 1e-30 && value <= 1e30),
             (std::string(what) + ": expected 0 (none) or 1e-30 to 1e30, got another").c_str());
}

}  // namespace

bool ValidateLarge(Validator& v, const LargeConfig& c) {
  return v.Range("embedding_dim", c.embedding_dim, 1, kMaxDim) &&
         v.Range("num_blocks", c.num_blocks, 1, kMaxBlocks) &&
         v.Range("num_heads", c.heads, 1, kMaxDim) &&
         v.Range("vocab_size", c.vocab_size, 1, kMaxVocab) &&
         v.Range("width of q and k", c.qk, 1, kMaxDim) &&
         v.Divides("num_heads", c.heads, "the width of q and k", c.qk) &&
         v.Range("width of v", c.value, 1, kMaxDim) &&
         v.Divides("num_heads", c.heads, "the width of v", c.value) &&
         v.Range("feed-forward width", c.ffn, 1, kMaxDim) && Epsilon(v, "norm_eps", c.norm_eps) &&
         Epsilon(v, "eps", c.eps) && Cap(v, "gate_soft_cap", c.gate_cap) &&
         Cap(v, "output_logit_soft_cap", c.logit_cap);
}

bool ValidateTirex(Validator& v, const TirexConfig& c) {
  if (!v.Range("patch size", c.patch, 1, kMaxPatch) ||
      !v.Range("train_ctx_len", c.context, 1, kMaxContext) ||
      !v.Divides("patch size", c.patch, "train_ctx_len", c.context) ||
      !v.Range("embedding_dim", c.embedding_dim, 1, kMaxDim) ||
      !v.Range("num_heads", c.heads, 1, c.embedding_dim) ||
      !v.Divides("num_heads", c.heads, "embedding_dim", c.embedding_dim) ||
      !v.Range("num_blocks", c.num_blocks, 1, kMaxBlocks) ||
      !v.Range("feed-forward width", c.ffn, 1, kMaxDim) ||
      !v.Range("input_ff_dim", c.patch_ffn, 1, kMaxDim) ||
      !v.Range("quantiles: their number", c.quantiles.size(), 1, kMaxQuantiles) ||
      !v.Range("quantiles times patch size", c.quantiles.size() * c.patch, 1, kMaxDim) ||
      !v.Range("forecast.every", c.forecast.every, 1, kMaxHorizon) ||
      !v.Range("forecast.horizon", c.forecast.horizon, 1, kMaxHorizon) ||
      !v.Range("forecast.rollout", c.forecast.rollout, 1, kMaxHorizon)) {
    return false;
  }
  const auto is_probability = [](double q) { return q > 0 && q < 1; };
  const auto each_once = [&] {
    std::vector<double> sorted = c.quantiles;
    std::sort(sorted.begin(), sorted.end());
    return std::adjacent_find(sorted.begin(), sorted.end()) == sorted.end();
  };
  return v.Expect(std::all_of(c.quantiles.begin(), c.quantiles.end(), is_probability),
                  "quantiles: expected numbers between 0 and 1, got another") &&
         v.Expect(std::count(c.quantiles.begin(), c.quantiles.end(), 0.5) > 0,
                  "quantiles: expected 0.5 among them, got none") &&
         v.Expect(each_once(), "quantiles: expected each once, got one twice");
}

Checked StateValues(const LargeConfig& c) {
  const uint64_t dk = c.qk / c.heads, dv = c.value / c.heads;
  const Checked block = Checked(dv).AlignUp(16) * (Checked(c.heads) * dk) +
                        Checked(dk).AlignUp(16) * c.heads + Checked(c.heads).AlignUp(16);
  return block * c.num_blocks;
}

Checked StateValues(const TirexConfig& c) {
  return Checked(c.embedding_dim).AlignUp(16) * 4 * c.num_blocks;
}

}  // namespace xst::formats
