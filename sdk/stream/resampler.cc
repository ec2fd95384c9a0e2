#include "sdk/stream/resampler.h"

#include <algorithm>
#include <cmath>

namespace xst::stream {

// The small excess as in Clock: 0.2 s at 360 Hz are 72 periods whatever the product rounds to.
Resampler::Resampler(Resample kind, double rate_hz, double max_s, uint32_t width)
    : kind_(kind),
      rate_hz_(rate_hz),
      max_periods_(std::floor(max_s * rate_hz + 1e-6)),
      made_(width) {
  left_.x.resize(width);
}

void Resampler::Restore(double t) {
  has_count_ = true;
  count_ = std::round(t * rate_hz_);
}

std::optional<double> Resampler::last_t() const {
  if (left_.valid) return left_.t;
  if (has_count_) return TimeAt(count_);
  return {};
}

bool Resampler::Prime(const SampleHead& head, std::span<const float> x, uint64_t before) {
  if (left_.valid && head.t <= left_.t) return false;
  Keep(head, x, before);
  return true;
}

void Resampler::Keep(const SampleHead& head, std::span<const float> x, uint64_t before) {
  left_.valid = true;
  left_.t = head.t;
  left_.before = before;
  std::copy(x.begin(), x.end(), left_.x.begin());
}

double Resampler::CountAt(double t) const {
  double count = std::ceil(t * rate_hz_);
  if (TimeAt(count - 1) >= t) return count - 1;  // the product was rounded
  return TimeAt(count) < t ? count + 1 : count;
}

// As Clock counts the periods of a gap.
bool Resampler::Bridges(double from, double to) const {
  return std::round((to - from) * rate_hz_) - 1 <= max_periods_;
}

bool Resampler::Take(const SampleHead& head, std::span<const float> x, uint64_t before,
                     const Emit& emit) {
  const bool bridged = left_.valid && Bridges(left_.t, head.t);
  double count = CountAt(bridged ? left_.t : head.t);
  if (bridged && TimeAt(count) == left_.t) ++count;
  if (has_count_) count = std::max(count, count_ + 1);
  SampleHead out = head;
  out.has_t = true;
  out.has_seq = false;  // the source's numbers count samples, not periods
  out.seq = 0;
  for (; TimeAt(count) <= head.t; ++count) {
    out.t = TimeAt(count);
    const bool last = TimeAt(count + 1) > head.t;
    out.position = last || !bridged ? before : left_.before;
    std::span<const float> values = x;
    if (out.t != head.t) {
      if (kind_ == Resample::hold) {
        values = left_.x;
      } else {
        const double w = (out.t - left_.t) / (head.t - left_.t);
        for (size_t i = 0; i < made_.size(); ++i) {
          const double a = left_.x[i], b = x[i];
          made_[i] = static_cast<float>(a + (b - a) * w);
        }
        values = made_;
      }
    }
    has_count_ = true;
    count_ = count;
    if (!emit(out, values)) return false;
  }
  Keep(head, x, before);
  return true;
}

}  // namespace xst::stream
