#include "sdk/stream/batch.h"

#include <algorithm>
#include <ctime>
#include <functional>
#include <limits>
#include <utility>

namespace xst::stream {
namespace {

constexpr double kEnough = 1e-3;  // s to time one count
constexpr double kFaster = 0.95;  // of the time of single steps
constexpr double kAlone = 2;      // times a Session's step that a lone sample may take
constexpr int kRounds = 40;

// Where this thread computes alone the time it had its CPU: others disturb it least.
double Now(bool alone) {
  timespec now{};
  clock_gettime(alone ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

// The shortest of some rounds, of at least six.
double Shortest(bool alone, const std::function<void()>& step) {
  double shortest = std::numeric_limits<double>::infinity(), all = 0;
  for (int i = 0; i < kRounds && (i < 6 || all < kEnough); ++i) {
    const double begin = Now(alone);
    step();
    const double seconds = Now(alone) - begin;
    shortest = std::min(shortest, seconds);
    all += seconds;
  }
  return shortest;
}

}  // namespace

class Batch::LaneStepper : public Stepper {
 public:
  LaneStepper(std::shared_ptr<Batch> batch, uint32_t lane)
      : batch_(std::move(batch)), lane_(lane) {}
  ~LaneStepper() override { batch_->lanes_.detach(lane_); }

  const ModelInfo& info() const override { return batch_->lanes_.model()->info(); }
  Status Step(std::span<const float> x, std::span<float> y, bool* answers) noexcept override {
    *answers = true;
    return batch_->lanes_.step(lane_, x, y);
  }
  uint32_t quality() const noexcept override { return batch_->lanes_.quality(lane_); }
  void Reset() noexcept override { batch_->lanes_.reset(lane_); }
  Status Save(std::span<std::byte> out) const noexcept override {
    return batch_->lanes_.save(lane_, out);
  }
  void Load(std::span<const std::byte> snapshot, const LoadOptions& options) override {
    batch_->lanes_.load(lane_, snapshot, options);
  }
  Batch* batch() const noexcept override { return batch_.get(); }
  uint32_t lane() const noexcept override { return lane_; }

 private:
  const std::shared_ptr<Batch> batch_;
  const uint32_t lane_;
};

Batch::Batch(std::shared_ptr<const Model> model, uint32_t streams, uint32_t least)
    : lanes_(std::move(model), streams),
      least_(least),
      in_width_(lanes_.model()->info().input_width),
      out_width_(lanes_.model()->info().output_width),
      mask_(streams),
      in_(streams * in_width_),
      out_(streams * out_width_) {}

// Of a step of the first `count` lanes, which are fresh before and behind.
double Batch::SecondsOf(uint32_t count, bool one_thread) {
  for (uint32_t i = 0; i < count; ++i) {
    lanes_.attach();
    mask_[i] = 1;
  }
  const double seconds = Shortest(one_thread, [&] { Run(); });
  for (uint32_t i = 0; i < count; ++i) lanes_.detach(i);
  Clear();
  return seconds;
}

std::shared_ptr<Batch> Batch::MakeIfFaster(const std::shared_ptr<const Model>& model,
                                           uint32_t streams) {
  const ModelInfo& info = model->info();
  // On a GPU a lane's bits depend on the number of lanes: what a restart steps again would differ.
  if (streams < 2 || info.tokens || !info.device.starts_with("cpu") ||
      info.config.family == formats::Family::tirex) {
    return nullptr;
  }
  auto batch = std::make_shared<Batch>(model, streams, 2);
  std::vector<float> x(info.input_width), y(info.output_width);
  const bool one_thread = info.device == "cpu";
  double single, alone;
  {
    Session session(model);
    single = Shortest(one_thread, [&] { session.step(x, y); });
    const auto lane = batch->MakeStepper();
    bool answers;
    alone = lane ? Shortest(one_thread, [&] { lane->Step(x, y, &answers); }) : single;
  }
  if (alone > kAlone * single) return nullptr;
  // What a sample costs beside others falls with their number, so that the first win is the least.
  for (uint32_t count = 2;; count = std::min(2 * count, streams)) {
    if (batch->SecondsOf(count, one_thread) < kFaster * count * single) {
      batch->least_ = count;
      return batch;
    }
    if (count == streams) return nullptr;
  }
}

std::unique_ptr<Stepper> Batch::MakeStepper() {
  const auto lane = lanes_.attach();
  if (!lane) return nullptr;
  return std::make_unique<LaneStepper>(shared_from_this(), *lane);
}

void Batch::Add(uint32_t lane, std::span<const float> x) noexcept {
  mask_[lane] = 1;
  std::copy(x.begin(), x.end(), in_.begin() + static_cast<ptrdiff_t>(lane * in_width_));
}

Status Batch::Run() noexcept { return lanes_.step(mask_, std::span<const float>(in_), out_); }

std::span<const float> Batch::output(uint32_t lane) const noexcept {
  return std::span(out_).subspan(lane * out_width_, out_width_);
}

void Batch::Clear() noexcept { std::fill(mask_.begin(), mask_.end(), uint8_t{0}); }

}  // namespace xst::stream
