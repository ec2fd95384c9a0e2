// xst bench: how long a step takes here, beside the least it could take.
#include <sched.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <random>
#include <vector>

#include "apps/xst/commands.h"
#include "sdk/bench.h"
#include "sdk/lanes.h"

namespace xst::cli {
namespace {

using Clock = std::chrono::steady_clock;

constexpr double kDefaultSeconds = 2;
constexpr double kWarmUpSeconds = 0.2;
constexpr size_t kInputs = 256;  // distinct steps of input, cycled through
constexpr double kMinLimitPasses = 5, kMaxLimitPasses = 200;
constexpr size_t kChunks = 8;  // of calls, with passes of the limit between them
constexpr int kWarmUpPasses = 3;
constexpr size_t kMinColdCalls = 3, kMaxColdCalls = 30;
constexpr double kColdSeconds = 1;  // then kMinColdCalls are enough

struct BenchArgs {
  ModelArgs model;
  uint32_t streams = 1;
  uint32_t forward = 0;  // steps of a forward call; 0: a call is one step
  uint64_t steps = 0;    // calls; 0: about kDefaultSeconds
  bool json = false;
};

struct Figures {
  double p50 = 0, p99 = 0, p999 = 0, max = 0;  // microseconds per call
  double steps_per_s = 0;
  // Microseconds that a call on the CPU cannot go below.
  std::optional<double> limit;
  // Medians of a call and of that limit where no cache holds anything of the model.
  std::optional<double> cold, cold_limit;
};

double Seconds(Clock::duration d) { return std::chrono::duration<double>(d).count(); }

// Keeps this thread on a CPU, -1: the one it is on; without the right to, it stays unpinned.
void PinThread(int cpu) {
  if (cpu < 0) cpu = sched_getcpu();
  if (cpu < 0) return;
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(cpu, &set);
  sched_setaffinity(0, sizeof(set), &set);
}

// N streams and the inputs that their calls take, rows of a random array.
class Workload {
 public:
  Workload(const std::shared_ptr<const Model>& model, const BenchArgs& args)
      : info_(model->info()),
        rows_(uint64_t{args.streams} * std::max(args.forward, 1u)),
        forward_(args.forward > 0),
        mask_(args.streams, 1),
        out_(rows_ * info_.output_width) {
    if (args.streams == 1) {
      session_.emplace(model);
    } else {
      lanes_.emplace(model, args.streams);
      for (uint32_t i = 0; i < args.streams; ++i) {
        if (!lanes_->attach()) throw Error(Status::device_failed, "lane: expected one, got none");
      }
    }
    std::mt19937 random(1);
    if (info_.tokens) {
      std::uniform_int_distribution<int64_t> id(0, formats::VocabSize(info_.config) - 1);
      for (size_t i = 0; i < kInputs + rows_; ++i) tokens_.push_back(id(random));
      return;
    }
    std::normal_distribution<float> normal;
    for (size_t i = 0; i < (kInputs + rows_) * info_.input_width; ++i) {
      float value = normal(random);
      if (info_.config.stream) {  // raw units
        const auto& input = info_.config.stream->inputs[i % info_.input_width];
        value = static_cast<float>(input.mean + input.std * value);
      }
      values_.push_back(value);
    }
  }

  void Call() {
    const Status status = info_.tokens ? Call(std::span<const int64_t>(tokens_), 1)
                                       : Call(std::span<const float>(values_), info_.input_width);
    if (status != Status::ok) {
      throw Error(status, std::string("step: expected success, got: ") + Describe(status));
    }
    next_ = (next_ + 1) % kInputs;
  }

 private:
  template <class T>
  Status Call(std::span<const T> inputs, uint64_t width) {
    const auto in = inputs.subspan(next_ * width, rows_ * width);
    if (lanes_) return forward_ ? lanes_->forward(mask_, in, out_) : lanes_->step(mask_, in, out_);
    if (forward_) return session_->forward(in, out_);
    if constexpr (std::is_integral_v<T>) {
      return session_->step(in[0], out_);
    } else {
      return session_->step(in, out_);
    }
  }

  const ModelInfo& info_;
  const uint64_t rows_;  // of a call
  const bool forward_;
  std::optional<Session> session_;
  std::optional<Lanes> lanes_;
  std::vector<uint8_t> mask_;
  std::vector<float> values_, out_;
  std::vector<int64_t> tokens_;
  size_t next_ = 0;
};

// Runs for kWarmUpSeconds; returns the seconds one call takes.
double WarmUp(Workload& load) {
  uint64_t calls = 0;
  const auto start = Clock::now();
  do {
    load.Call();
    ++calls;
  } while (Seconds(Clock::now() - start) < kWarmUpSeconds);
  return Seconds(Clock::now() - start) / static_cast<double>(calls);
}

double Quantile(const std::vector<float>& sorted, double q) {
  const auto rank = static_cast<size_t>(std::ceil(q * static_cast<double>(sorted.size())));
  return static_cast<double>(sorted[std::min(std::max<size_t>(rank, 1), sorted.size()) - 1]);
}

std::optional<double> Median(std::vector<float> values) {
  if (values.empty()) return std::nullopt;
  std::sort(values.begin(), values.end());
  return Quantile(values, 0.5);
}

float MicrosSince(Clock::time_point start) {
  return std::chrono::duration<float, std::micro>(Clock::now() - start).count();
}

// Passes of the limit; none where it has none.
class Passes {
 public:
  explicit Passes(LimitMeter* meter) : meter_(meter) {}
  void Add() {
    if (const double micros = meter_->Micros(); !std::isnan(micros)) {
      micros_.push_back(static_cast<float>(micros));
    }
  }
  std::optional<double> Median() const { return cli::Median(micros_); }

 private:
  LimitMeter* meter_;
  std::vector<float> micros_;
};

// `limit` may be null.
Figures Measure(Workload& load, uint64_t calls, uint64_t steps_per_call, LimitMeter* limit,
                size_t passes) {
  std::vector<float> micros(calls);
  Passes limits(limit);
  Clock::duration total{};
  size_t at = 0;
  for (size_t chunk = 1; chunk <= kChunks; ++chunk) {
    if (limit && chunk > 1) load.Call();  // warms the caches, as passes do below
    const auto start = Clock::now();
    auto before = start;
    for (; at < calls * chunk / kChunks; ++at) {
      load.Call();
      const auto now = Clock::now();
      micros[at] = std::chrono::duration<float, std::micro>(now - before).count();
      before = now;
    }
    total += before - start;
    if (!limit) continue;
    for (int i = 0; i < kWarmUpPasses; ++i) limit->Micros();
    for (size_t i = 0; i < passes / kChunks + 1; ++i) limits.Add();
  }
  Figures f;
  f.steps_per_s = static_cast<double>(calls) * static_cast<double>(steps_per_call) / Seconds(total);
  std::sort(micros.begin(), micros.end());
  f.p50 = Quantile(micros, 0.5);
  f.p99 = Quantile(micros, 0.99);
  f.p999 = Quantile(micros, 0.999);
  f.max = static_cast<double>(micros.back());
  f.limit = limits.Median();
  return f;
}

void MeasureCold(Workload& load, LimitMeter& limit, Figures* f) {
  std::vector<float> micros;
  Passes limits(&limit);
  const auto begin = Clock::now();
  while (micros.size() < kMaxColdCalls) {
    if (micros.size() >= kMinColdCalls && Seconds(Clock::now() - begin) > kColdSeconds) break;
    if (!limit.Evict()) return;
    const auto start = Clock::now();
    load.Call();
    micros.push_back(MicrosSince(start));
    if (!limit.Evict()) return;
    limits.Add();
  }
  f->cold = Median(micros);
  f->cold_limit = limits.Median();
}

void Print(const ModelInfo& info, const Figures& f, const BenchArgs& args, uint64_t calls) {
  std::printf("%s%s%s, %u stream%s, %llu calls\n", info.device.c_str(),
              info.isa.empty() ? "" : ", ", info.isa.c_str(), args.streams,
              args.streams == 1 ? "" : "s", static_cast<unsigned long long>(calls));
  std::printf("  per call   p50 %.2f us, p99 %.2f us, p99.9 %.2f us, max %.2f us\n", f.p50, f.p99,
              f.p999, f.max);
  std::printf("  rate       %.0f stream steps/s\n", f.steps_per_s);
  std::printf("  memory     %.1f kB of weights, %.1f kB of state a stream\n",
              static_cast<double>(info.weight_bytes) / 1e3,
              static_cast<double>(info.state_bytes) / 1e3);
  if (f.limit) {
    std::printf("  limit      %.2f us to read weights and update state: p50 is %.2f times that\n",
                *f.limit, f.p50 / *f.limit);
  } else {
    std::printf("  limit      none defined for this device and call\n");
  }
  if (f.cold && f.cold_limit) {
    std::printf("  cold       p50 %.2f us, limit %.2f us, where no cache holds the model\n",
                *f.cold, *f.cold_limit);
  }
}

void PrintJson(const ModelInfo& info, const Figures& f) {
  using Json = nlohmann::ordered_json;
  const auto or_null = [](const std::optional<double>& v) { return v ? Json(*v) : Json(nullptr); };
  const Json json = {{"isa", info.isa},
                     {"device", info.device},
                     {"p50_us", f.p50},
                     {"p99_us", f.p99},
                     {"p999_us", f.p999},
                     {"max_us", f.max},
                     {"stream_steps_per_s", f.steps_per_s},
                     {"weight_bytes", info.weight_bytes},
                     {"state_bytes", info.state_bytes},
                     {"limit_us", or_null(f.limit)},
                     {"limit_ratio", f.limit ? Json(f.p50 / *f.limit) : Json(nullptr)},
                     {"cold_p50_us", or_null(f.cold)},
                     {"cold_limit_us", or_null(f.cold_limit)}};
  std::printf("%s\n", json.dump().c_str());
}

void Bench(const BenchArgs& args) {
  // A team's threads go where this one may: it is pinned only behind them.
  const bool team = args.model.device.starts_with("cpu:");
  if (!team) PinThread(-1);
  const auto model = OpenModel(args.model);
  if (team) PinThread(CallerCpu(*model));
  const ModelInfo& info = model->info();
  Workload load(model, args);
  const double call = WarmUp(load);
  const uint64_t calls =
      args.steps
          ? args.steps
          : std::clamp<uint64_t>(static_cast<uint64_t>(kDefaultSeconds / call), 20, 2'000'000);
  std::optional<LimitMeter> limit;
  if (args.forward == 0 && info.device.starts_with("cpu")) limit.emplace(model, args.streams);
  const double passes = std::clamp(kDefaultSeconds / call, kMinLimitPasses, kMaxLimitPasses);
  Figures figures = Measure(load, calls, uint64_t{args.streams} * std::max(args.forward, 1u),
                            limit ? &*limit : nullptr, static_cast<size_t>(passes));
  if (limit) MeasureCold(load, *limit, &figures);
  if (args.json) {
    PrintJson(info, figures);
  } else {
    Print(info, figures, args, calls);
  }
}

}  // namespace

void AddBench(CLI::App* app) {
  auto args = std::make_shared<BenchArgs>();
  CLI::App* command = app->add_subcommand(
      "bench", "Time the step on seeded random input, beside the limit memory sets");
  AddModelArgs(command, &args->model, true);
  command->add_option("--streams", args->streams, "streams of a call")
      ->check(CLI::Range(1, 65536))
      ->type_name("N");
  command->add_option("--forward", args->forward, "a call is T steps at once (default: one step)")
      ->check(CLI::Range(1, 1 << 20))
      ->type_name("T");
  command->add_flag("--bf16-forward", args->model.bf16_forward,
                    "cuda, xLSTM Large, with --forward: bf16 between matrix products");
  command->add_flag("--resident", args->model.resident,
                    "cuda, one stream: its kernel stays on the device between steps");
  command->add_option("--steps", args->steps, "calls to time (default: as many as take 2 seconds)")
      ->check(CLI::Range(uint64_t{1}, uint64_t{1} << 32))
      ->type_name("N");
  command->add_flag("--json", args->json, "one JSON object");
  command->callback([args] { Bench(*args); });
}

}  // namespace xst::cli
