// Streams of one model through the daemon's loop at full speed: stepped together against one by
// one, in turns. `streams_bench M.xst [STREAMS [SECONDS]]`.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <memory>
#include <vector>

#include "sdk/stream/loop.h"

namespace {

using namespace xst::stream;  // NOLINT: a program of one file
using Time = std::chrono::steady_clock;

struct Fleet {
  Fleet(const std::shared_ptr<const xst::Model>& model, uint32_t count) {
    for (uint32_t i = 0; i < count; ++i) {
      StreamOptions options;
      options.queue = 256;
      options.deadline = false;
      owned.push_back(std::make_unique<Stream>(model, options, i));
      all.push_back(owned.back().get());
    }
  }
  std::vector<std::unique_ptr<Stream>> owned;
  std::vector<Stream*> all;
};

double CpuSeconds() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

// Stream-steps in a second of CPU time in the loop's turns, every ring in filled and every ring out
// emptied between them.
double Rate(Fleet* fleet, double seconds) {
  constexpr int kSamples = 16;
  const xst::ModelInfo& info = fleet->all[0]->info();
  std::vector<float> x(info.input_width, 0.5f), y(info.output_width), back(info.input_width);
  Loop loop(fleet->all);
  loop.Arrange();
  OutputHead head;
  double passed = 0;
  uint64_t steps = 0;
  while (passed < seconds) {
    for (Stream* s : fleet->all) {
      for (int i = 0; i < kSamples; ++i) s->Offer({}, x, {});
    }
    const double begin = CpuSeconds();
    while (loop.Turn()) {
    }
    passed += CpuSeconds() - begin;
    for (Stream* s : fleet->all) {
      while (s->Take(&head, y, back)) ++steps;
    }
  }
  return static_cast<double>(steps) / passed;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) {
    std::fprintf(stderr, "usage: streams_bench M.xst [STREAMS [SECONDS]]\n");
    return 2;
  }
  const auto count = static_cast<uint32_t>(argc > 2 ? std::atoi(argv[2]) : 64);
  const double seconds = argc > 3 ? std::atof(argv[3]) : 1;
  const auto model = xst::Model::open(argv[1]);
  Fleet single(model, count), together(model, count);
  const auto begin = Time::now();
  const auto batch = Batch::MakeIfFaster(model, count);
  const double measured = std::chrono::duration<double>(Time::now() - begin).count();
  std::printf("%u streams of %s (%llu parameters): ", count, argv[1],
              static_cast<unsigned long long>(model->info().parameters));
  if (!batch) {
    std::printf("no batch, decided in %.1f ms; %.0f steps/s\n", measured * 1e3,
                Rate(&single, seconds));
    return 0;
  }
  std::printf("together from %u, decided in %.1f ms\n", batch->least(), measured * 1e3);
  Join(batch, together.all);
  std::vector<double> ratios;
  for (int round = 0; round < 5; ++round) {
    const double a = Rate(&single, seconds), b = Rate(&together, seconds);
    ratios.push_back(b / a);
    std::printf("single %.0f steps/s, together %.0f steps/s: %.2f times\n", a, b, b / a);
  }
  std::sort(ratios.begin(), ratios.end());
  std::printf("median %.2f times\n", ratios[ratios.size() / 2]);
}
