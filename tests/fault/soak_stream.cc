// A long run through the daemon's own source, step and output threads with snapshots kept on disk;
// says where its memory stood. `soak_stream SAMPLES` or `soak_stream --model FILE`, which writes
// the model that it steps.
#include <atomic>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <string>
#include <thread>

#include "apps/xstd/state_dir.h"
#include "sdk/stream/loop.h"
#include "tests/fault/small_models.h"

namespace {

using std::chrono::steady_clock;
using xst::stream::Stream;

// Generated samples, as fast as they are taken: gaps, duplicates and missing values among them.
class Generator : public xst::stream::Source {
 public:
  explicit Generator(uint64_t samples) : samples_(samples) {}
  void Run(Stream& stream, std::stop_token stop) override {
    std::vector<float> x(stream.info().input_width);
    uint64_t seq = 0;
    for (uint64_t i = 0; i < samples_; ++i) {
      seq += i % 1013 == 5 ? 0 : i % 1517 == 9 ? 4 : i % 10'001 == 500 ? 300 : 1;
      xst::stream::SampleHead head;
      head.receive_ns = xst::stream::NowNs();
      head.has_t = head.has_seq = true;
      head.seq = seq;
      head.t = static_cast<double>(seq) / 100;
      head.position = i + 1;
      for (float& v : x) v = i % 707 == 3 ? NAN : static_cast<float>(i * 31 % 1700) / 850 - 1;
      if (!stream.Offer(head, x, stop)) return;
    }
  }

 private:
  uint64_t samples_;
};

// Sees every output once and in order.
class Counter : public xst::stream::Sink {
 public:
  void Write(const Stream&, const xst::stream::OutputHead& head, std::span<const float>,
             std::span<const float>) override {
    wrong_ += head.seq != next_++;
  }
  uint64_t outputs() const { return next_; }
  uint64_t wrong() const { return wrong_; }

 private:
  uint64_t next_ = 0, wrong_ = 0;
};

long RssKib() {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with("VmRSS:")) return std::atol(line.c_str() + 6);
  }
  return -1;
}

std::string SoakedModel() {
  return xst::test::SmallModel(xst::test::kWrapped, xst::formats::DType::f32);
}

int Soak(uint64_t samples) {
  const xst::formats::test::ScratchFolder folder;
  const xst::formats::test::AlignedBytes file(SoakedModel());
  Stream stream(xst::Model::open(file.bytes()), {.name = "soak"}, 7);
  xstd::StateDir state(folder / "state");
  Counter counter;
  uint64_t snapshots = 0;
  const auto start = steady_clock::now();
  std::string rss;
  {
    xst::stream::Loop loop({&stream});
    xst::stream::Publisher publisher({&stream}, {&counter});
    Generator generator(samples);
    loop.Start();
    publisher.Start();
    std::jthread source([&](std::stop_token stop) { generator.Run(stream, stop); });
    bool requested = false;
    const auto keep = [&] {
      if (!requested) stream.RequestCheckpoint();
      requested = true;
      if (auto* checkpoint = stream.FetchCheckpoint()) {
        state.Write("soak", checkpoint);
        requested = false;
        ++snapshots;
      }
    };
    for (const double percent : {1, 10, 100}) {
      const auto until = static_cast<uint64_t>(static_cast<double>(samples) * percent / 100);
      while (stream.counts().samples < until) {
        keep();
        std::this_thread::sleep_for(std::chrono::milliseconds(20));
      }
      const std::chrono::duration<double> since = steady_clock::now() - start;
      std::fprintf(stderr, "%.0f %%: %.0f s, RSS %ld KiB\n", percent, since.count(), RssKib());
      if (!rss.empty()) rss += ", ";
      rss += "\"" + std::to_string(static_cast<int>(percent)) + "\": " + std::to_string(RssKib());
    }
  }
  const std::chrono::duration<double> took = steady_clock::now() - start;
  const auto c = stream.counts();
  const auto last = state.Read("soak");
  std::printf(
      "{\"samples\": %llu, \"outputs\": %llu, \"out_of_order\": %llu, \"errors\": %llu, "
      "\"snapshots\": %llu, \"seconds\": %.1f, \"rss_kib_at_percent\": {%s}}\n",
      static_cast<unsigned long long>(c.samples), static_cast<unsigned long long>(c.outputs),
      static_cast<unsigned long long>(counter.wrong()), static_cast<unsigned long long>(c.errors),
      static_cast<unsigned long long>(snapshots), took.count(), rss.c_str());
  const bool good = c.samples == samples && c.outputs == counter.outputs() &&
                    counter.wrong() == 0 && c.errors == 0 && last.checkpoint;
  return good ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc == 3 && std::strcmp(argv[1], "--model") == 0) {
    xst::formats::test::WriteText(argv[2], SoakedModel());
    return 0;
  }
  if (argc != 2) return 2;
  return Soak(std::strtoull(argv[1], nullptr, 10));
}
