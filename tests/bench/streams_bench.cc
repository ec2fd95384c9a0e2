// Streams of one model through the daemon's loop at full speed: stepped together against one by
// one, in turns. `streams_bench M.xst [STREAMS [SECONDS]]`.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <thread>
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
  uint64_t Stepped() const {
    uint64_t n = 0;
    for (const Stream* s : all) n += s->counts().samples;
    return n;
  }
  std::vector<std::unique_ptr<Stream>> owned;
  std::vector<Stream*> all;
};

// Stream-steps a second while this thread keeps every ring in filled and every ring out empty.
double Rate(Fleet* fleet, double seconds) {
  const xst::ModelInfo& info = fleet->all[0]->info();
  std::vector<float> x(info.input_width, 0.5f), y(info.output_width), back(info.input_width);
  std::vector<uint64_t> offered(fleet->all.size());
  Loop loop(fleet->all);
  loop.Start();
  const auto begin = Time::now();
  const uint64_t before = fleet->Stepped();
  double passed = 0;
  OutputHead head;
  for (size_t i = 0; i < offered.size(); ++i) offered[i] = fleet->all[i]->counts().samples;
  do {
    for (size_t i = 0; i < offered.size(); ++i) {
      Stream& s = *fleet->all[i];
      while (offered[i] < s.counts().samples + 200) {
        SampleHead sample;
        sample.receive_ns = NowNs();
        s.Offer(sample, x, {});
        ++offered[i];
      }
      while (s.Take(&head, y, back)) s.MarkPublished();
    }
    passed = std::chrono::duration<double>(Time::now() - begin).count();
  } while (passed < seconds);
  const uint64_t after = fleet->Stepped();
  loop.Stop();
  for (Stream* s : fleet->all) {
    while (s->Turn() || s->Take(&head, y, back)) {
    }
  }
  return static_cast<double>(after - before) / passed;
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
