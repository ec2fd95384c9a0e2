#include "sdk/generate.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <new>
#include <string>

namespace xst {
namespace {

const SamplerOptions& Checked(const SamplerOptions& options) {
  if (!(options.temperature >= 0) || !std::isfinite(options.temperature)) {
    throw Error(Status::invalid_argument, "temperature: expected a number of at least 0, got " +
                                              std::to_string(options.temperature));
  }
  if (!(options.top_p >= 0 && options.top_p <= 1)) {
    throw Error(Status::invalid_argument,
                "top_p: expected a number from 0 to 1, got " + std::to_string(options.top_p));
  }
  return options;
}

}  // namespace

Sampler::Sampler(uint32_t vocabulary, const SamplerOptions& options)
    : vocabulary_(vocabulary), options_(Checked(options)), random_(options.seed) {
  if (options_.temperature == 0) return;
  try {
    kept_.reserve(vocabulary);
    weight_.resize(vocabulary);
    if (options_.top_k > 0 && options_.top_k < vocabulary) ranked_.resize(vocabulary);
  } catch (const std::bad_alloc&) {
    throw Error(Status::out_of_memory, "sampler: expected memory for its candidates, got none");
  }
}

Status Sampler::Next(std::span<const float> logits, uint32_t* token) noexcept {
  if (logits.size() != vocabulary_ || logits.empty()) return Status::shape_mismatch;
  if (!std::all_of(logits.begin(), logits.end(), [](float v) { return std::isfinite(v); })) {
    return Status::invalid_argument;
  }
  const auto best = std::max_element(logits.begin(), logits.end());  // the first of several
  if (options_.temperature == 0) {
    *token = static_cast<uint32_t>(best - logits.begin());
    return Status::ok;
  }
  for (uint32_t i = 0; i < vocabulary_; ++i) {
    weight_[i] = std::exp((double{logits[i]} - double{*best}) / options_.temperature);
  }
  KeepTopK(logits);
  if (options_.top_p < 1) KeepTopP(logits);
  *token = Draw();
  return Status::ok;
}

// Candidates in order of their ids, for the sums to be the same with every standard library.
void Sampler::KeepTopK(std::span<const float> logits) noexcept {
  float least = -std::numeric_limits<float>::infinity();
  if (!ranked_.empty()) {
    std::copy(logits.begin(), logits.end(), ranked_.begin());
    const auto kth = ranked_.begin() + static_cast<ptrdiff_t>(options_.top_k - 1);
    std::nth_element(ranked_.begin(), kth, ranked_.end(), std::greater<>());
    least = *kth;
  }
  kept_.clear();
  total_ = 0;
  for (uint32_t i = 0; i < vocabulary_; ++i) {
    if (logits[i] < least) continue;
    kept_.push_back(i);
    total_ += weight_[i];
  }
}

// Pops the likeliest off a heap, which gathers them behind its end: far less work than a sort.
void Sampler::KeepTopP(std::span<const float> logits) noexcept {
  const auto less_likely = [&](uint32_t a, uint32_t b) {
    return logits[a] != logits[b] ? logits[a] < logits[b] : a > b;
  };
  std::make_heap(kept_.begin(), kept_.end(), less_likely);
  const double enough = options_.top_p * total_;
  auto end = kept_.end();
  double sum = 0;
  do {
    std::pop_heap(kept_.begin(), end, less_likely);
    sum += weight_[*--end];
  } while (sum < enough && end != kept_.begin());
  kept_.erase(kept_.begin(), end);
  total_ = sum;
}

uint32_t Sampler::Draw() noexcept {
  const double uniform = static_cast<double>(random_() >> 11) * 0x1p-53;  // in [0, 1)
  double left = uniform * total_;
  uint32_t drawn = kept_.front();
  for (const uint32_t token : kept_) {
    if (weight_[token] == 0) continue;
    drawn = token;  // rounding may leave a little behind the last
    left -= weight_[token];
    if (left < 0) break;
  }
  return drawn;
}

}  // namespace xst
